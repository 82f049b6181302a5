// Advantage actor-critic over whole episodes, backpropagated through all their steps.
//
// With r reward, v value, p policy, a action taken, of T steps and B episodes:
//   R_t = r_t + discount R_(t+1),  R_T = 0
//   A_t = R_t - v_t
//   loss = sum over t, b of [ -log p(a_t) A_t + value_weight A_t^2 + concentration_weight sum_a
//   p(a)^2 ]
//          / (T B),   where the first A_t is not differentiated
//
// Miconi, Rawal, Clune, Stanley, ICLR 2019; Garcia Rodriguez, Guo, Moraitis, ICML 2022 (Maze).
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/models/actor_critic.h"
#include "stpn/train/rollout.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

struct ActorCriticOptions : TrainerOptions {
  int64_t iterations = 50'000;
  int64_t episodes = 512;
  int64_t warm_up = 100;
  int64_t report_every = 100;
  double learning_rate = 1e-4;
  double epsilon = 1e-4;
  double largest_gradient = 4;
  double discount = 0.9;
  double value_weight = 0.1;
  double concentration_weight = 0.03;

  std::vector<base::Field> fields() override;
  int64_t epochs() const override { return (iterations + report_every - 1) / report_every; }
  std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                   const std::string& where) const override;
  std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                const nn::UnitOptions& unit) const override;
};

// The sum above, without the division. logits (T, B, actions), value (T, B), action (T, B) int64,
// reward (T, B).
torch::Tensor actor_critic_loss(const ActorCriticOptions& options, const torch::Tensor& logits,
                                const torch::Tensor& value, const torch::Tensor& action,
                                const torch::Tensor& reward);

// The loss of an iteration, and its gradient: of fixed blocks of episodes, each played and gone
// back through as a whole on one thread, so that memory does not grow with the episodes, and added
// up in order, so that threads change no bit.
class EpisodeGradient {
 public:
  EpisodeGradient(const tasks::EnvironmentOptions& task, const ActorCriticOptions& options,
                  nn::ActorCritic& model);

  struct Result {
    double loss = 0;
    double reward = 0;                     // of an episode, on average
    std::vector<torch::Tensor> gradients;  // in the order of the parameters; none unless wanted
  };
  // Over the training episodes of an iteration, from 0 on.
  Result run(int64_t iteration, bool gradients);

 private:
  ActorCriticOptions options_;
  nn::ActorCritic& model_;
  std::vector<Rollout> blocks_;
  std::vector<int64_t> first_;  // episode of each block, within the iteration
};

}  // namespace stpn::train
