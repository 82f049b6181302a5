// Episodes of an environment, played side by side by an actor-critic while its unit runs.
//
// The unit tells of each step as soon as it has it (kernels::ClosedLoop): an action is drawn from
// the policy, the environment answers, and its observation is the unit's next input. So one forward
// pass acts, and keeps what backward needs. A draw is a function of seed, split, episode and step,
// whatever rollout or thread it happens in. (h need not be: with other samples beside it, a unit
// may run in other vectors, which changes its last bits.)
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
  // B slots, T steps at a time (0: as many as an episode has at most), in the dtype of the model.
  Rollout(const tasks::EnvironmentOptions& task, uint64_t seed, int64_t slots, int64_t steps,
          torch::Dtype dtype);

  // Plays episodes first, first+1, ... from their start, one in each slot, for T steps.
  // Throws base::UserError if one of them is shorter or longer.
  nn::ActorCritic::Output play(nn::ActorCritic& model, tasks::Split split, int64_t first,
                               bool energy = false);

  // Plays T more steps of training episodes. Slot b has first+b, then first+b+stride, and so on;
  // a call goes on where the last one ended.
  nn::ActorCritic::Output play_on(nn::ActorCritic& model, int64_t first, int64_t stride);
  // What the model takes the rest of each slot's episode for, (B), without gradient.
  torch::Tensor value_ahead(nn::ActorCritic& model) const;

  // Of what was played last.
  const torch::Tensor& action() const { return action_; }  // (T, B) int64
  const torch::Tensor& reward() const { return reward_; }  // (T, B)
  const torch::Tensor& ended() const { return ended_; }    // (T, B) bool: the episode's last step

  // Rewards of whole episodes, summed over their steps: of those that have ended since this was
  // last asked, by slot.
  std::vector<double> take_rewards();
  int64_t episodes_ended() const;  // ever

  // All that play_on needs to go on, under names that begin with `prefix`; and back. `restore`
  // throws base::UserError for what is missing or foreign.
  void save(const std::string& prefix, base::Safetensors& content) const;
  void restore(const std::string& prefix, const base::Safetensors& content,
               const nn::ActorCritic& model);

  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override;
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override;

 private:
  // Touched by one thread at a time, and by no other slot's.
  struct Slot {
    std::unique_ptr<tasks::Environment> environment;  // of one slot of its own
    int64_t episode = 0;
    int64_t step = 0;   // of the episode, done
    double reward = 0;  // of them
    int64_t episodes_ended = 0;
    std::vector<double> rewards;  // of episodes that ended
  };

  void start(int64_t b, int64_t episode, int64_t row);
  nn::ActorCritic::Output run(nn::ActorCritic& model, const nn::State& state,
                              const torch::Tensor& reset, bool energy);
  void write_observation(int64_t row, int64_t b, const std::vector<float>& observation);
  template <typename T>
  void act(int64_t t, int64_t first, int64_t count, const T* h);
  template <typename T>
  int64_t draw_action(const Slot& slot, const T* h) const;

  uint64_t seed_;
  tasks::Split split_ = tasks::Split::training;
  std::vector<Slot> slots_;
  int64_t stride_ = 0;  // from an episode to the next in a slot; 0: there is none
  bool begun_ = false;  // play_on has been called
  torch::Tensor x_;     // (T + 1, B, I): the last is what is seen after T steps
  torch::Tensor action_, reward_, ended_;
  torch::Tensor reset_;   // (T + 1, B) bool
  torch::Tensor weight_;  // (H, actions), of the policy's head
  torch::Tensor bias_;
  nn::State state_;  // after T steps
};

}  // namespace stpn::train
