// Whole episodes of an environment, played side by side by an actor-critic while its unit runs.
//
// The unit tells of each step as soon as it has it (kernels::ClosedLoop): an action is drawn from
// the policy, the environment answers, and its observation is the unit's next input. So one forward
// pass acts, and keeps what backward needs. A draw is a function of seed, split, episode and step:
// how episodes are divided over rollouts and threads changes nothing.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/kernels/closed_loop.h"
#include "stpn/nn/models/actor_critic.h"
#include "stpn/tasks/environment.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::train {

// REQUIRES, of the environment: every episode has episode_length() steps.
class Rollout : public kernels::ClosedLoop {
 public:
  // With so many episodes at a time, in the dtype of the model.
  Rollout(const tasks::EnvironmentOptions& task, uint64_t seed, int64_t episodes,
          torch::Dtype dtype);

  // Plays the episodes from `first_episode` on with the model as it is.
  nn::ActorCritic::Output play(nn::ActorCritic& model, tasks::Split split, int64_t first_episode,
                               bool energy = false);

  // Of the episodes played last, B of T steps each.
  const torch::Tensor& action() const { return action_; }  // (T, B) int64
  const torch::Tensor& reward() const { return reward_; }  // (T, B)
  double reward_of(int64_t b) const;                       // of an episode, over its steps

  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override;
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override;

 private:
  template <typename T>
  void act(int64_t t, int64_t first, int64_t count, const T* h);
  template <typename T>
  int64_t draw_action(int64_t t, int64_t b, const T* h) const;

  uint64_t seed_;
  // Each of one slot, so that those of different threads do not meet.
  std::vector<std::unique_ptr<tasks::Environment>> environments_;
  torch::Tensor x_;       // (T, B, I)
  torch::Tensor action_;  // (T, B)
  torch::Tensor reward_;  // (T, B)
  torch::Tensor weight_;  // (H, actions), of the policy's head
  torch::Tensor bias_;
  tasks::Split split_ = tasks::Split::training;
  int64_t first_episode_ = 0;
};

}  // namespace stpn::train
