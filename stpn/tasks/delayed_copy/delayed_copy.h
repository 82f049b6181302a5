// Delayed copy: a sequence shows symbols, then nothing for a while, and then asks for the symbols
// in order, one a step.
//
//   s1 s2 ... sn  (nothing, `delay` steps)  ? ? ... ?   ->   s1 s2 ... sn at the steps with `?`
//
// n is uniform over 1 .. `longest`, so sequences have 2 n + delay steps; the symbols are uniform
// and independent. Input: one-hot vectors over the symbols and `?`; nothing is all zeros.
//
// A toy: an example of a supervised task with targets at many steps and sequences of different
// lengths (docs/adding_a_task.md).
#pragma once

#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

struct DelayedCopyOptions : SequenceTaskOptions {
  int64_t symbols = 8, longest = 4, delay = 3;
  int64_t training = 10'000, validation = 1'000, test = 1'000;

  std::vector<base::Field> fields() override;
  std::unique_ptr<SequenceTask> make(uint64_t seed) const override;
};

}  // namespace stpn::tasks
