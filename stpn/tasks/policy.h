// Policies, and the rewards of the episodes they play.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/environment.h"

namespace stpn::tasks {

// Chooses the actions of a batch of B environments.
class Policy {
 public:
  virtual ~Policy() = default;
  // Called when a new episode begins in environment b: forgets the last one there.
  virtual void start(int64_t b, int64_t episode) = 0;
  //   observation  in  (B, I)
  //   action       out (B)
  virtual void act(const float* observation, int64_t* action) = 0;
};

// The policies that need no training: "random", all actions equally likely and drawn by seed,
// episode and step; and "oracle", Environment::best_actions.
const std::vector<std::string>& untrained_policies();

// REQUIRES: `name` is one of them. The environment must outlive the policy.
std::unique_ptr<Policy> make_untrained_policy(const std::string& name, Environment& environment,
                                              uint64_t seed);

// The results of episodes 0, 1, 2, ...
struct Episodes {
  std::vector<double> rewards;         // of each episode, summed over its steps
  std::vector<double> lengths;         // in steps
  std::vector<int64_t> first_actions;  // of episode 0, one for each step: for Environment::trace
};

// Plays the first `count` episodes of a split to their ends. REQUIRES: count >= 1.
Episodes play(Environment& environment, Policy& policy, Split split, int64_t count);

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
