// What a trainer sees of an RL task: a constant task, which all threads share, and environments,
// each with a small state of its own and one episode at a time. An episode is numbered; its number,
// the seed, the split and the actions decide it.
//
//   const auto environment = task.make_environment();
//   environment->start(split, episode, x);                     // the first observation
//   do step = environment->step(action, x); while (!step.ended());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stpn/tasks/split.h"

namespace stpn::tasks {

// What an action is: one of a number of choices, or a box of numbers.
struct ActionSpec {
  int64_t choices = 0;           // 0: a box
  std::vector<float> low, high;  // of a box: the limits of each number, with low < high

  bool is_box() const { return choices == 0; }
  int64_t numbers() const { return static_cast<int64_t>(low.size()); }  // of a box

  static ActionSpec one_of(int64_t choices) { return {choices, {}, {}}; }
  static ActionSpec box(std::vector<float> low, std::vector<float> high) {
    return {0, std::move(low), std::move(high)};
  }
  bool operator==(const ActionSpec&) const = default;
};

// How bytes show an image: in the order (channels, height, width), byte b for (b - zero) / unit.
struct ImageSpec {
  int64_t channels = 1, height = 0, width = 0;
  float zero = 0, unit = 255;

  int64_t bytes() const { return channels * height * width; }
  float value(uint8_t byte) const { return (static_cast<float>(byte) - zero) / unit; }
};

// An action. The numbers of a box may lie outside its limits: the environment clips them.
struct Action {
  int64_t choice = 0;              // 0 .. choices-1
  const float* numbers = nullptr;  // of a box; borrowed for the call
};

// What a step gave. Both may be true: `terminated` then counts.
struct Step {
  float reward = 0;
  bool terminated = false;  // the episode has come to its end: nothing is to be had after it
  // The episode was cut off, by a time limit that is not part of the task: a value may be
  // predicted for what would have come after it.
  bool truncated = false;

  bool ended() const { return terminated || truncated; }
};

// Not safe to use from several threads at once; different environments of a task are.
class Environment {
 public:
  virtual ~Environment() = default;

  // Starts an episode; one that is under way is given up.
  //   observation  out (I), every element written
  // REQUIRES: 0 <= episode < 2^32.
  virtual void start(Split split, int64_t episode, float* observation) = 0;

  // One step. REQUIRES: an episode has been started and has not ended.
  //   observation  out (I), every element written: the observation after the action, also after the
  //                last one of an episode; may be null
  virtual Step step(const Action& action, float* observation) = 0;

  // The same for a task with images, whose bytes need a quarter of the memory.
  //   image  out (I), every element written; of step_image, may be null
  // REQUIRES: EnvironmentTask::image() is not null.
  virtual void start_image(Split split, int64_t episode, uint8_t* image);
  virtual Step step_image(const Action& action, uint8_t* image);

  // The best choice, given everything that is hidden from an agent. Throws base::UserError if the
  // task cannot say.
  virtual int64_t best_choice();

  // The state, and back into an environment of a task of the same options and seed. `restore`
  // throws base::UserError, with nothing changed, for bytes of another task or damaged ones.
  virtual std::string save() const = 0;
  virtual void restore(std::string_view saved) = 0;
};

// Immutable: several threads may use it at once. Must outlive its environments.
class EnvironmentTask {
 public:
  virtual ~EnvironmentTask() = default;

  virtual int64_t observation_size() const = 0;  // I
  // What the observations show, if they are images; else null.
  virtual const ImageSpec* image() const { return nullptr; }
  virtual const ActionSpec& actions() const = 0;
  virtual int64_t max_steps() const = 0;  // the most steps that an episode has
  // Whether every episode has max_steps steps.
  virtual bool fixed_length() const { return false; }
  virtual int64_t test_episodes() const = 0;  // how many episodes the final test runs
  // The inputs, of I, that show the reward. An agent's energy is reported with and without them.
  virtual std::vector<int64_t> reward_inputs() const { return {}; }

  virtual std::unique_ptr<Environment> make_environment() const = 0;

  // An episode with these actions, as JSON for a picture (docs/formats.md). Throws base::UserError
  // if the task draws none.
  //   actions  the choices, or the numbers of one action after the other
  virtual std::string trace(Split split, int64_t episode, const std::vector<float>& actions) const;
};

}  // namespace stpn::tasks
