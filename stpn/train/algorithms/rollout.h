// Rollouts: T steps of an actor-critic in B environments, which its unit runs in one forward pass.
//
// After each step the unit passes its output to this class (kernels::ClosedLoop), which draws an
// action from the policy and steps the environment; the observation is the unit's next input. So
// the pass that acts is also the one that saves what backward needs. A draw depends on seed, split,
// episode and step alone, not on the rollout or thread in which it happens. (The output h may
// depend on the rollout in its last bits: in a batch of another size, a unit may group samples
// differently.)
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/safetensors.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/nn/models/actor_critic.h"
#include "stpn/tasks/environment.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::train {

class Rollout : public kernels::ClosedLoop {
 public:
  // B environments, T steps (0: the length of an episode), tensors of the dtype of the model.
  Rollout(const tasks::EnvironmentOptions& task, uint64_t seed, int64_t environments, int64_t steps,
          torch::Dtype dtype);

  // Plays episodes first .. first+B-1, one in each environment, from their start, for T steps.
  // Throws base::UserError if an episode has more or fewer steps.
  nn::ActorCritic::Output play_episodes(nn::ActorCritic& model, tasks::Split split, int64_t first,
                                        bool energy = false);

  // Plays the next T steps of training episodes, from where the last call ended. Environment b
  // plays episode first+b, then first+b+stride, and so on.
  nn::ActorCritic::Output play_steps(nn::ActorCritic& model, int64_t first, int64_t stride);
  // After play_steps, the value of the next observation of each environment, (B), without gradient:
  // it stands for the rewards of the rest of the episode.
  torch::Tensor bootstrap_value(nn::ActorCritic& model) const;

  // Of the last call of play_episodes or play_steps.
  const torch::Tensor& action() const { return action_; }  // (T, B) int64
  const torch::Tensor& reward() const { return reward_; }  // (T, B)
  const torch::Tensor& ended() const { return ended_; }    // (T, B) bool: the episode's last step

  // The summed rewards of the episodes that have ended since the last call, by environment.
  std::vector<double> take_rewards();
  int64_t episodes_ended() const;  // in total

  // Writes what play_steps needs to go on, in tensors whose names begin with `prefix`, and reads it
  // back. `restore` throws base::UserError for tensors that are missing or of another run.
  void save(const std::string& prefix, base::Safetensors& content) const;
  void restore(const std::string& prefix, const base::Safetensors& content,
               const nn::ActorCritic& model);

  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override;
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override;

 private:
  // One environment and its episode. No two threads use the same runner at once.
  struct Runner {
    std::unique_ptr<tasks::Environment> environment;  // a batch of one
    int64_t episode = 0;
    int64_t step = 0;   // steps of the episode done
    double reward = 0;  // their sum of rewards
    int64_t episodes_ended = 0;
    std::vector<double> rewards;  // of the episodes that ended, until take_rewards
  };

  // Starts an episode in environment b and writes its first observation into row `row` of x_.
  void start(int64_t b, int64_t episode, int64_t row);
  nn::ActorCritic::Output run(nn::ActorCritic& model, const nn::State& state,
                              const torch::Tensor& reset, bool energy);
  void write_observation(int64_t row, int64_t b, const std::vector<float>& observation);
  template <typename T>
  void act(int64_t t, int64_t first, int64_t count, const T* h);
  template <typename T>
  int64_t draw_action(const Runner& runner, const T* h) const;

  uint64_t seed_;
  tasks::Split split_ = tasks::Split::training;
  std::vector<Runner> runners_;  // B
  int64_t stride_ = 0;           // from an environment's episode to its next; 0: there is no next
  bool begun_ = false;           // play_steps has been called
  torch::Tensor x_;              // (T + 1, B, I); the last row is what is observed after T steps
  torch::Tensor action_, reward_, ended_;
  torch::Tensor reset_;   // (T + 1, B) bool
  torch::Tensor weight_;  // (H, actions), of the policy head
  torch::Tensor bias_;    // (actions)
  nn::State state_;       // of the unit, after T steps
};

}  // namespace stpn::train
