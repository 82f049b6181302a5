// Advantage actor-critic, backpropagated through whole episodes, or fragments of them.
//
// With r reward, v value, p policy, a action taken, of T steps and B slots:
//   R_t = r_t + discount R_(t+1), where an episode ends r_t
//   R_T = what the model takes the rest of the episode for
//   A_t = R_t - v_t
//   loss = 1 / (T B) sum over t and b of
//          - log p(a_t) A_t + value_weight A_t^2 + policy_l2_weight sum over a of p(a)^2
// where R and the first A_t are not differentiated.
//
// The state goes on from one fragment to the next; gradients do not.
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

// In an experiment as fields() tells.
struct ActorCriticOptions : TrainerOptions {
  int64_t iterations = 50'000;  // a multiple of report_every
  int64_t episodes = 512;       // B
  int64_t fragment = 0;         // T; 0: whole episodes
  int64_t warm_up = 100;        // iterations
  int64_t report_every = 100;   // iterations: an epoch
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

struct Played {
  torch::Tensor action;  // (T, B) int64
  torch::Tensor reward;  // (T, B), of the type of the logits
  torch::Tensor ended;   // (T, B) bool
  torch::Tensor ahead;   // (B): R_T; undefined: 0
};

// The sum above, without the division. logits (T, B, actions), value (T, B).
torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const torch::Tensor& logits,
                                const torch::Tensor& value, const Played& played);

// The loss of an iteration, and its gradient: of fixed blocks of slots, each played and gone back
// through as a whole on one thread, so that what backward needs does not grow with the slots, and
// added up in order, so that threads change no bit.
class PolicyGradient {
 public:
  // Task and model must outlive it.
  PolicyGradient(const tasks::EnvironmentOptions& task, const ActorCriticOptions& options,
                 nn::ActorCritic& model);

  struct Result {
    double loss = 0;
    std::vector<double> rewards;           // of the episodes that ended
    std::vector<torch::Tensor> gradients;  // in the order of the parameters; none unless wanted
  };
  // Of whole episodes, those of the iteration, from 0 on; of fragments, the next.
  Result run(int64_t iteration, bool gradients);

  int64_t episodes_ended() const;  // ever, of fragments

  // What fragments need to go on, and back; of whole episodes, nothing.
  void save(base::Safetensors& content) const;
  void restore(const base::Safetensors& content);

 private:
  struct Block {
    Rollout rollout;
    int64_t first;  // slot
    std::string name() const { return fmt::format("slots{}.", first); }
  };

  Result run_block(Block& block, int64_t iteration, bool gradients);

  ActorCriticOptions options_;
  nn::ActorCritic& model_;
  std::vector<Block> blocks_;
};

}  // namespace stpn::train
