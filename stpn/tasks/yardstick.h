// What a task says a result is to be held against: what guessing reaches, or a known best.
#pragma once

#include <string>

namespace stpn::tasks {

struct Yardstick {
  std::string name;  // ends in what it measures: "chance_accuracy"
  double value = 0;
};

}  // namespace stpn::tasks
