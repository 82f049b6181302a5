// Continual familiarity detection: a stream of random vectors, of which some are repeated; at each
// step, has this vector been shown before?
//
// At step t the vector x[t-R] is shown again, R being `interval`, with probability `repeat` if it
// was itself new; else a new one, of `inputs` values +1 or -1 with equal probability. Target: 1 if
// the vector is a repeat, else 0, at every step. In the long run the share of repeats is P / (1 +
// P), P being `repeat`: a third.
//
// Tyulmankov, Yang, Abbott: Meta-learning synaptic plasticity and memory addressing for continual
// familiarity detection, Neuron 110 (2022). The difficulty of the task is R.
#pragma once

#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

struct FamiliarityOptions : SequenceTaskOptions {
  int64_t inputs = 100, interval = 3, length = 5000;
  double repeat = 0.5;
  int64_t training = 1, validation = 4, test = 10;

  std::vector<base::Field> fields() override;
  std::unique_ptr<SequenceTask> make(uint64_t seed) const override;
};

}  // namespace stpn::tasks
