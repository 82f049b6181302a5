// Acts: an agent plays episodes in B environments, while its unit runs over their steps in one
// pass.
//
// After each step the unit passes its output to this class (kernels::ClosedLoop), which draws an
// action from the policy and steps the environment; the observation is the unit's next input. So
// the pass that acts is also the one that saves what backward needs. A draw depends on seed, split,
// episode and step alone, not on the environment or thread in which it happens. (The output h may
// depend on the batch in its last bits: a unit may group the samples of another batch differently.)
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/safetensors.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/nn/models/agent.h"
#include "stpn/tasks/environment.h"
#include "stpn/train/algorithms/bounded_state/bounded_state.h"
#include "stpn/train/algorithms/rollout.h"

namespace stpn::train {

// What a pass that acts computes beside the actions.
struct ActorPass {
  bool energy = false;                     // of the unit
  StateGradientBound state_gradient = {};  // for backward
};

// How Actor::play_on goes on.
struct PlayOn {
  int64_t first = 0, stride = 0;  // environment b plays episode first+b, first+b+stride, and so on
  int64_t steps = 0;              // at most the actor's T; 0: T
  ActorPass pass = {};
  bool bootstraps = true;  // a step without an action follows a truncation (Rollout)
};

// What a call of Actor gives: what happened, and what the agent's pass computed meanwhile. The
// tensors of the rollout are the actor's, whose next call overwrites them.
struct Acted {
  Rollout rollout;
  nn::Agent::Output output;
};

// The results of episodes first .. first+count-1, in order.
struct PlayedEpisodes {
  std::vector<double> rewards;  // of each, summed over its steps
  std::vector<double> lengths;  // in steps
  double energy = 0;            // mean over the neurons and all steps
  std::vector<float> actions;   // of the first one
};

class Actor : public kernels::ClosedLoop {
 public:
  // B environments, T steps a call (0: the most that an episode has). The task must outlive the
  // actor. `agent`: like those that will play.
  Actor(const tasks::EnvironmentTask& task, uint64_t seed, int64_t environments, int64_t steps,
        const nn::Agent& agent);

  // Training episodes first .. first+B-1, one in each environment, from start to end. REQUIRES: the
  // task's episodes have T steps.
  Acted play_whole(nn::Agent& agent, int64_t first, const ActorPass& pass = {});

  // The next steps of training episodes, from where the last call, if it was of play_on, ended.
  Acted play_on(nn::Agent& agent, const PlayOn& how);

  // Plays `count` episodes of a split, from number `first` on, to their ends, whatever their
  // lengths: environment b plays first+b, first+b+B ... So each counts once; an environment that
  // has no more of them waits for the others. `greedy`: always the most probable action. REQUIRES:
  // count >= B.
  PlayedEpisodes play_episodes(nn::Agent& agent, tasks::Split split, int64_t first, int64_t count,
                               bool greedy = false);

  // The summed rewards of the episodes that have ended since the last call, by environment.
  std::vector<double> take_rewards();
  int64_t episodes_ended() const;  // in total

  // Writes what play_on needs to go on, in tensors whose names begin with `prefix`, and reads it
  // back. `restore` throws base::UserError for tensors that are missing or of another run.
  void save(const std::string& prefix, base::Safetensors& content) const;
  void restore(const std::string& prefix, const base::Safetensors& content, const nn::Agent& agent);

  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override;
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override;

 private:
  static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

  // One environment and its episode. No two threads use the same runner at once.
  struct Runner {
    std::unique_ptr<tasks::Environment> environment;
    int64_t episode = 0;
    int64_t step = 0;       // steps of the episode done
    double reward = 0;      // their sum of rewards
    bool cut = false;       // the next observation is the last one of a truncated episode
    bool finished = false;  // there is no next episode
    int64_t episodes_ended = 0;
    std::vector<double> rewards, lengths;  // of the episodes that ended, until they are taken
    std::vector<float> numbers;            // of an action in a box: as drawn,
    std::vector<float> scaled;             // and as the environment gets them
  };

  // Starts an episode in environment b and writes its first observation into row `row` of x_. At or
  // past the limit there is none.
  void start(int64_t b, int64_t episode, int64_t row);
  // Which episodes follow: every stride-th of the split, up to the limit.
  void plan(tasks::Split split, int64_t stride, int64_t limit, bool bootstraps);
  void start_all(tasks::Split split, int64_t first, int64_t stride, int64_t limit, bool bootstraps);
  Acted run(nn::Agent& agent, const nn::State& state, int64_t steps, bool resets,
            const ActorPass& pass);
  // What is observed after the last run becomes step 0 of the next.
  void go_on();
  // What environment b observes goes into row `row`: of x_, or with an encoder of image_.
  void start_environment(int64_t b, int64_t row);
  tasks::Step step_environment(int64_t b, const tasks::Action& action, int64_t row);
  // Writes row `row` of x_ from that of image_.
  void encode(int64_t b, int64_t row);
  template <typename T>
  void act(int64_t t, int64_t first, int64_t count, const T* h);
  void record(const tasks::Action& action);

  const tasks::EnvironmentTask& task_;
  uint64_t seed_;
  int64_t steps_;
  tasks::Split split_ = tasks::Split::training;
  std::vector<Runner> runners_;           // B
  int64_t stride_ = 0;                    // from an environment's episode to its next
  int64_t limit_ = kNoLimit;              // episodes from this number on are not played
  bool bootstraps_ = false;               // after a truncation there is a step without an action
  bool greedy_ = false;                   // no draws
  bool begun_ = false;                    // the next call of play_on goes on
  std::vector<float>* record_ = nullptr;  // takes the actions of the first episode
  std::unique_ptr<nn::ActionSampler> sampler_;
  std::unique_ptr<nn::StepEncoder> encoder_;  // of the agent that plays; null: without
  int64_t end_;          // steps of the last run: the row of x_ and reset_ that follows them
  int64_t piece_ = 0;    // the row with which the unit's present pass begins
  torch::Tensor x_;      // (T + 1, B, inputs of the unit)
  torch::Tensor image_;  // (T + 1, B, I) uint8: what the encoder made x_ of; undefined: without
  torch::Tensor reset_;  // (T + 1, B) bool
  torch::Tensor action_, acted_, reward_, terminated_, truncated_;
  nn::State state_;  // of the unit, after the last run
};

}  // namespace stpn::train
