// Advantage actor-critic, backpropagated through whole episodes or through rollouts of T steps.
//
// With reward r, value v, policy p and action a, over T steps of B environments:
//   R_t = r_t + discount R_(t+1), or r_t at the last step of an episode
//   R_T = the bootstrap value, which the model predicts for the observation after step T - 1; 0
//         with whole episodes
//   A_t = R_t - v_t
//   loss = 1 / (T B) sum over t and b of
//          - log p(a_t) A_t + value_weight A_t^2 + policy_l2_weight sum over a of p(a)^2
// R, and A_t in the first term, are treated as constants: no gradient flows through them. The last
// term, which is smallest for a uniform policy, takes the place of an entropy bonus.
//
// Each rollout begins with the state in which the last one ended; gradients do not flow between
// them.
//
// Miconi, Rawal, Clune, Stanley, ICLR 2019; Garcia Rodriguez, Guo, Moraitis, ICML 2022 (Maze).
#pragma once

#include <fmt/format.h>
#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/models/actor_critic.h"
#include "stpn/train/algorithms/rollout.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// fields() documents each option.
struct ActorCriticOptions : TrainerOptions {
  int64_t iterations = 50'000;  // a multiple of report_every
  int64_t episodes = 512;       // B, in parallel
  int64_t rollout_length = 0;   // T; 0: whole episodes
  int64_t warm_up = 100;        // iterations
  int64_t report_every = 100;   // iterations; they make up an epoch
  double learning_rate = 1e-4;
  double epsilon = 1e-4;
  double max_grad_norm = 4;
  double discount = 0.9;
  double value_weight = 0.1;
  double policy_l2_weight = 0.03;

  std::vector<base::Field> fields() override;
  int64_t epochs() const override { return iterations / report_every; }
  std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                   const std::string& where) const override;
  std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                const nn::UnitOptions& unit) const override;
};

// What happened in a rollout.
struct Transitions {
  torch::Tensor action;           // (T, B) int64
  torch::Tensor reward;           // (T, B), of the dtype of the logits
  torch::Tensor ended;            // (T, B) bool: the last step of an episode
  torch::Tensor bootstrap_value;  // (B): R_T; undefined: 0
};

// The sum in the loss above, not divided by T B. logits (T, B, actions), value (T, B).
torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const torch::Tensor& logits,
                                const torch::Tensor& value, const Transitions& transitions);

// The loss of an iteration, and its gradient. The environments are divided into fixed shards. One
// thread plays a shard and backpropagates through it before it takes the next, which bounds the
// memory for backward; the gradients of the shards are added in a fixed order, so the result does
// not depend on the number of threads.
class PolicyGradient {
 public:
  // `task` and `model` must outlive this object.
  PolicyGradient(const tasks::EnvironmentOptions& task, const ActorCriticOptions& options,
                 nn::ActorCritic& model);

  struct Result {
    double loss = 0;
    std::vector<double> rewards;           // of the episodes that ended
    std::vector<torch::Tensor> gradients;  // in the order of the parameters; empty if not wanted
  };
  // Plays the episodes of iteration 0, 1, ...; or, with rollouts, the next T steps, whatever the
  // iteration.
  Result run(int64_t iteration, bool gradients);

  int64_t episodes_ended() const;  // in total, in rollouts

  // Writes what the next rollout needs to go on, and reads it back. For whole episodes, nothing.
  void save(base::Safetensors& content) const;
  void restore(const base::Safetensors& content);

 private:
  struct Shard {
    Rollout rollout;
    int64_t first;                                                           // environment
    std::string prefix() const { return fmt::format("rollout{}.", first); }  // in a checkpoint
  };

  Result run_shard(Shard& shard, int64_t iteration, bool gradients);

  ActorCriticOptions options_;
  nn::ActorCritic& model_;
  std::vector<Shard> shards_;
};

}  // namespace stpn::train
