// Policies, and the rewards of the episodes they play.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/environment.h"

namespace stpn::tasks {

// Chooses the actions of one environment.
class Policy {
 public:
  virtual ~Policy() = default;
  // Called when an episode begins: forgets the last one.
  virtual void start(int64_t episode) = 0;
  //   observation  in (I)
  // What the action points to is valid until the next call.
  virtual Action act(const float* observation) = 0;
};

// The policies that need no training: "random", all actions equally likely and drawn by seed,
// episode and step; and "oracle", Environment::best_choice.
const std::vector<std::string>& untrained_policies();

// REQUIRES: `name` is one of them. Task and environment must outlive the policy.
std::unique_ptr<Policy> make_untrained_policy(const std::string& name, const EnvironmentTask& task,
                                              Environment& environment, uint64_t seed);

// The results of episodes 0, 1, 2, ...
struct Episodes {
  std::vector<double> rewards;       // of each episode, summed over its steps
  std::vector<double> lengths;       // in steps
  std::vector<float> first_actions;  // of episode 0: for EnvironmentTask::trace
};

// Both play the first `count` episodes of a split to their ends; play_untrained with one of
// untrained_policies. REQUIRES: count >= 1.
Episodes play(const EnvironmentTask& task, Environment& environment, Policy& policy, Split split,
              int64_t count);
Episodes play_untrained(const EnvironmentTask& task, const std::string& policy, uint64_t seed,
                        Split split, int64_t count);

// Mean and sample standard deviation of values, and the standard error of their mean. Of a single
// value the last two are NaN.
struct Spread {
  double mean = 0;
  double standard_deviation = 0;
  double standard_error = 0;
};

// REQUIRES: at least one value.
Spread spread_of(const std::vector<double>& values);

}  // namespace stpn::tasks
