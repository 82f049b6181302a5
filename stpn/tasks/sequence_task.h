// What a trainer sees of a supervised task: a fixed set of independent sequences, each with one
// class as its target.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/tasks/baseline.h"
#include "stpn/tasks/split.h"

namespace stpn::tasks {

// Immutable after construction, so several threads may read it at once.
class SequenceTask {
 public:
  virtual ~SequenceTask() = default;

  virtual int64_t steps() const = 0;       // T, the same for every sequence
  virtual int64_t input_size() const = 0;  // I
  virtual int64_t classes() const = 0;     // targets are 0 .. classes-1
  virtual int64_t size(Split split) const = 0;

  // Writes sequences first .. first+count-1 of a split as one batch; time is the first dimension.
  //   x       out (T, count, I), every element written
  //   target  out (count)
  // REQUIRES: 0 <= first, 0 <= count, first + count <= size(split).
  virtual void batch(Split split, int64_t first, int64_t count, float* x,
                     int64_t* target) const = 0;

  // Accuracies in [0, 1] to compare that of a model with. Their names differ.
  virtual std::vector<Baseline> baselines() const = 0;
};

}  // namespace stpn::tasks
