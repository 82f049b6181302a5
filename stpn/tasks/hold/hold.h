// Hold: the first observation of an episode shows a sign, -1 or 1. The reward of each step is the
// action, a number from -1 to 1, times that sign. So an agent has to remember the sign.
//
// An episode has from 2 to `longest` steps. Half of them end there; the others are cut off
// (truncated). Observation: the sign in the first one, later 0; the share of `longest` steps
// done; 1. The best policy earns 1 a step, one without memory at most 1 an episode: in the first
// step.
//
// A toy: an example of an RL task whose actions are numbers (docs/adding_a_task.md).
#pragma once

#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

struct HoldOptions : EnvironmentOptions {
  int64_t longest = 10;
  int64_t test = 1000;

  std::vector<base::Field> fields() override;
  // Throws base::UserError for impossible options.
  std::unique_ptr<EnvironmentTask> make(uint64_t seed) const override;
};

}  // namespace stpn::tasks
