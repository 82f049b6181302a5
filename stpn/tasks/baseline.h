// A score to compare a result with: that of a policy without training ("random_reward",
// "oracle_reward"), that of guessing ("chance_accuracy"), or a bound that no model exceeds without
// a certain ability ("no_binding_accuracy").
#pragma once

#include <string>

namespace stpn::tasks {

struct Baseline {
  std::string name;  // ends in what it measures, _accuracy or _reward
  double value = 0;
};

}  // namespace stpn::tasks
