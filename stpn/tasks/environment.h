// What a trainer sees of an RL task: a batch of B environments that do not influence each other,
// each with one episode at a time. An episode is numbered; its number, the seed and the split
// decide it.
//
//   for (b ...) environment.start(b, split, episode of b, x + b * I);       // x (T, B, I)
//   for (t ...) environment.step(action, x + (t + 1) * B * I, reward + t * B, ended + t * B);
//
// After the last step of its episode an environment has to be started again before the next step.
// Starting writes the first observation of the new episode over the last one of the old episode, so
// `ended` of step t is the reset mark of step t + 1.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stpn/tasks/split.h"

namespace stpn::tasks {

// An episode depends on options, seed, split, its number and the actions, and neither on the index
// of its environment nor on the other environments. Not safe to use from several threads at once.
class Environment {
 public:
  virtual ~Environment() = default;

  virtual int64_t batch() const = 0;             // B
  virtual int64_t observation_size() const = 0;  // I
  virtual int64_t actions() const = 0;           // an action is one of 0 .. actions-1
  virtual int64_t episode_length() const = 0;    // the most steps that an episode has
  virtual int64_t test_episodes() const = 0;     // how many episodes the final test runs
  // The inputs, of I, that show the reward. An agent's energy is reported with and without them.
  virtual std::vector<int64_t> reward_inputs() const = 0;

  // Starts an episode in environment b; an episode that is under way there is given up.
  //   observation  out (I), every element written
  // REQUIRES: 0 <= b < B, 0 <= episode < 2^32.
  virtual void start(int64_t b, Split split, int64_t episode, float* observation) = 0;

  // One step of every environment. REQUIRES: the episode of none of them has ended.
  //   action       in  (B)
  //   observation  out (B, I), every element written: the observation after the action, also after
  //                the last one of an episode; may be null
  //   reward       out (B)
  //   ended        out (B): whether this was the last step of the episode
  virtual void step(const int64_t* action, float* observation, float* reward, bool* ended) = 0;

  // The best action in each environment, (B), given everything that is hidden from an agent. Throws
  // base::UserError if the task cannot say.
  virtual void best_actions(int64_t* action) = 0;

  // The state of all B environments, and back into a batch made with the same options, seed and
  // size. `restore` throws base::UserError, with nothing changed, for bytes that were saved by
  // another batch or are damaged.
  virtual std::string save() const = 0;
  virtual void restore(std::string_view saved) = 0;

  // An episode with these actions, as JSON for a picture (docs/formats.md). Changes no environment.
  virtual std::string trace(Split split, int64_t episode,
                            const std::vector<int64_t>& actions) const = 0;
};

}  // namespace stpn::tasks
