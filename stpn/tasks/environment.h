// What a trainer sees of a task that is played: B episodes side by side, one in each slot.
//
//   for (b ...) environment.start(b, split, episode of b, x + b * I);       // x (T, B, I)
//   for (t ...) environment.step(action, x + (t + 1) * B * I, reward + t * B, ended + t * B);
//
// A slot whose episode has ended waits to be started again; that writes the first observation of
// the new episode over the last of the old one. So `ended` of step t are the reset marks of step
// t+1.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stpn/tasks/split.h"

namespace stpn::tasks {

// An episode is a function of options, seed, split, its number and the actions: neither of the slot
// it is played in, nor of what is played beside it. Not safe to use from several threads at once.
class Environment {
 public:
  virtual ~Environment() = default;

  virtual int64_t batch() const = 0;             // B
  virtual int64_t observation_size() const = 0;  // I
  virtual int64_t actions() const = 0;           // an action is one of 0 .. actions-1
  virtual int64_t episode_length() const = 0;    // steps an episode has at most
  virtual int64_t test_episodes() const = 0;     // to measure on at the end, 0 .. that-1
  // Those of the I that show reward: an agent's energy is also told without them.
  virtual std::vector<int64_t> reward_inputs() const = 0;

  // Starts an episode in slot b, whatever went on there.
  //   observation  out (I), every element written
  // REQUIRES: 0 <= b < B, 0 <= episode < 2^32.
  virtual void start(int64_t b, Split split, int64_t episode, float* observation) = 0;

  // One step in every slot. REQUIRES: none of them waits to be started.
  //   action       in  (B)
  //   observation  out (B, I), every element written: what is seen after the action, also where it
  //                was the last; null where nobody looks
  //   reward       out (B)
  //   ended        out (B): whether it was the episode's last step
  virtual void step(const int64_t* action, float* observation, float* reward, bool* ended) = 0;

  // What one who knows all would do now in each slot, (B). Throws base::UserError if the task does
  // not know.
  virtual void best_actions(int64_t* action) = 0;

  // All slots, to go on in the middle of their episodes in an environment made alike. `restore`
  // throws base::UserError for what no such environment saved, and then changes nothing.
  virtual std::string save() const = 0;
  virtual void restore(std::string_view saved) = 0;

  // What happens to one who takes these actions in an episode, as JSON for a picture
  // (docs/formats.md). Leaves the slots alone.
  virtual std::string trace(Split split, int64_t episode,
                            const std::vector<int64_t>& actions) const = 0;
};

}  // namespace stpn::tasks
