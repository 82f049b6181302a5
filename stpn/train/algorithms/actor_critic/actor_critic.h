// Advantage actor-critic, backpropagated through whole episodes or through rollouts of T steps.
//
// With reward r, value v, policy p and action a, over T steps of B environments:
//   R_t = r_t + discount R_(t+1), or r_t where the action terminated the episode; v_t at a step
//         without an action, which stands for what would have come after a truncation
//   R_T = the bootstrap value, which the agent predicts for the observation after step T - 1; 0
//         with whole episodes
//   A_t = R_t - v_t
//   loss = 1 / (T B) sum over the t and b with an action of
//          - log p(a_t) A_t + value_weight A_t^2 + policy_l2_weight sum over a of p(a)^2
//          - entropy_weight entropy of p
// or, with loss = "sum", without the factor 1 / (T B). R, and A_t in the first term, are treated as
// constants: no gradient flows through them. The third term, which is smallest for a uniform
// policy, takes the place of an entropy bonus; of a policy over numbers it is the integral of the
// squared density.
//
// Gradients that go far back through the unit's state may be bounded (bounded_state.h): those of
// the loss above of one environment, without the factor 1 / B.
//
// Each rollout begins with the state in which the last one ended; gradients do not flow between
// them. With a `sequence_length`, gradients do not flow further than that either: the rollout is
// played first, and then each of its sequences is learnt from the state that was stored where it
// begins (sequences/).
//
// Miconi, Rawal, Clune, Stanley, ICLR 2019; Garcia Rodriguez, Guo, Moraitis, ICML 2022 (Maze).
#pragma once

#include <fmt/format.h>
#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/models/agent.h"
#include "stpn/train/algorithms/actor.h"
#include "stpn/train/algorithms/agent_trainer.h"
#include "stpn/train/algorithms/bounded_state/bounded_state.h"
#include "stpn/train/algorithms/run_shards.h"
#include "stpn/train/algorithms/sequences/sequence_learner.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// fields() documents each option.
struct ActorCriticOptions : AgentTrainerOptions {
  int64_t iterations = 50'000;  // a multiple of report_every
  int64_t episodes = 512;       // B, in parallel
  int64_t rollout_length = 0;   // T; 0: whole episodes
  int64_t warm_up = 100;        // iterations
  int64_t report_every = 100;   // iterations; they make up an epoch
  int64_t sequence_length = 0;  // 0: rollout_length
  std::string loss = "mean";
  double value_weight = 0.1;
  double policy_l2_weight = 0.03;
  StateGradientBound state_gradient = {};

  // What the loss of all steps is multiplied by.
  double scale(int64_t steps) const {
    return loss == "sum" ? 1 : 1 / static_cast<double>(steps * episodes);
  }

  ActorCriticOptions() {
    epsilon = 1e-4;
    max_grad_norm = 4;
    discount = 0.9;
  }

  std::vector<base::Field> fields() override;
  int64_t epochs() const override { return iterations / report_every; }
  std::string limits() const override { return "train.iterations or train.stop_reward"; }
  std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                const nn::UnitOptions& unit) const override;
};

// The sum in the loss above, not divided by T B, of a pass that acted.
//   value            (T, B)
//   bootstrap_value  (B): R_T; undefined: 0
torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const nn::Policy& policy,
                                const torch::Tensor& value, const Rollout& rollout,
                                const torch::Tensor& bootstrap_value);

// The loss of an iteration, and its gradient. The environments are divided into fixed shards. One
// thread plays a shard and backpropagates through it before it takes the next, which bounds the
// memory for backward; the gradients of the shards are added in a fixed order, so the result does
// not depend on the number of threads and processes.
class PolicyGradient {
 public:
  // `task` and `agent` must outlive this object. Throws base::UserError for whole episodes of a
  // task whose episodes differ in length, and for options that do not go together.
  PolicyGradient(const tasks::EnvironmentTask& task, const ActorCriticOptions& options,
                 nn::Agent& agent);

  struct Result {
    double loss = 0;
    std::vector<double> rewards;           // of the episodes that ended
    std::vector<torch::Tensor> gradients;  // in the order of the parameters; empty if not wanted
  };
  // Plays the episodes of iteration 0, 1, ...; or, with rollouts, the next T steps, whatever the
  // iteration.
  Result run(int64_t iteration, bool gradients);

  // Whether rollouts are played first and then learnt from in sequences, as with images they are.
  bool cuts_sequences() const { return learner_ != nullptr; }
  int64_t episodes_ended() const;  // in total, in rollouts

  // Writes what the next rollout needs to go on, and reads it back. For whole episodes, nothing.
  void save(base::Safetensors& content) const;
  void restore(const base::Safetensors& content);

 private:
  struct Shard {
    Actor actor;
    int64_t first;                                                           // environment
    std::string prefix() const { return fmt::format("rollout{}.", first); }  // in a checkpoint
  };

  ShardResult run_shard(Shard& shard, int64_t iteration, bool gradients);
  Result run_sequences(bool gradients);

  ActorCriticOptions options_;
  nn::Agent& agent_;
  int64_t shard_count_ = 0;                   // in all processes
  std::vector<Shard> shards_;                 // of this one, which learn while they play; or none,
  std::unique_ptr<SequenceLearner> learner_;  // and this one plays first
};

}  // namespace stpn::train
