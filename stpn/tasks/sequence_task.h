// What a trainer sees of a supervised task: a fixed set of independent sequences, each with targets
// at some of its steps.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/tasks/baseline.h"
#include "stpn/tasks/split.h"

namespace stpn::tasks {

// The target of a step at which nothing is asked: it counts neither for the loss nor for the
// accuracy.
inline constexpr int64_t kNoTarget = -1;

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

  // Writes sequences first .. first+count-1 of a split as one batch; time is the first dimension.
  //   x       out (T, count, I), every element written; past the end of a sequence 0
  //   target  out (T, count), every element written; past the end of a sequence kNoTarget. Every
  //           sequence has a target.
  // REQUIRES: 0 <= first, 0 <= count, first + count <= size(split).
  virtual void batch(Split split, int64_t first, int64_t count, float* x,
                     int64_t* target) const = 0;

  // Accuracies in [0, 1] to compare that of a model with. Their names differ.
  virtual std::vector<Baseline> baselines() const = 0;
};

}  // namespace stpn::tasks
