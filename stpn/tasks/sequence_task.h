// What a trainer sees of a supervised task: a fixed set of independent sequences, each with targets
// at some of its steps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stpn/tasks/baseline.h"
#include "stpn/tasks/split.h"

namespace stpn::tasks {

// The target of a step at which nothing is asked: it counts neither for the loss nor for the
// accuracy.
inline constexpr int64_t kNoTarget = -1;

// How hard a task is, as a number: its option `name`.
struct Difficulty {
  std::string name;
  int64_t value = 0;
  std::vector<int64_t> compared = {};  // at which models are compared, besides those of a sweep
};

// What some of the targets ask for, for accuracies of their own: those from `first` to before
// `end`.
struct Part {
  std::string name;
  int64_t first = 0, end = 0;
};

// Immutable after construction, so several threads may read it at once.
class SequenceTask {
 public:
  virtual ~SequenceTask() = default;

  virtual int64_t steps() const = 0;       // T, the most that a sequence has
  virtual int64_t input_size() const = 0;  // I
  // Targets are 0 .. classes-1. With one class they are 0 (no) and 1 (yes): the model has one
  // output, the logit of yes, and its loss is the binary cross-entropy.
  virtual int64_t classes() const = 0;
  virtual int64_t size(Split split) const = 0;

  // Steps of a sequence, 1 .. T. REQUIRES: 0 <= sequence < size(split).
  virtual int64_t length(Split /*split*/, int64_t /*sequence*/) const { return steps(); }

  // Whether the training split goes on for ever past its size, so that a trainer may read new
  // sequences at every pass.
  virtual bool endless() const { return false; }

  // The parts of a task that asks for several things, at different steps. Their names differ.
  virtual std::vector<Part> parts() const { return {}; }

  // For a curriculum, and for tests of how a model generalises: how hard the task is, if a number
  // says so, and the same task, with the same seed, inputs and classes, at another difficulty; null
  // if it does not exist.
  virtual std::optional<Difficulty> difficulty() const { return std::nullopt; }
  virtual std::unique_ptr<SequenceTask> at_difficulty(int64_t /*value*/) const { return nullptr; }

  // Writes sequences first .. first+count-1 of a split as one batch; time is the first dimension.
  //   x       out (T, count, I), every element written; past the end of a sequence 0
  //   target  out (T, count), every element written; past the end of a sequence kNoTarget. Every
  //           sequence has a target.
  // REQUIRES: 0 <= first, 0 <= count, first + count <= size(split) unless the split is the training
  // split of an endless task.
  virtual void batch(Split split, int64_t first, int64_t count, float* x,
                     int64_t* target) const = 0;

  // Accuracies in [0, 1] to compare that of a model with. Their names differ.
  virtual std::vector<Baseline> baselines() const = 0;
};

}  // namespace stpn::tasks
