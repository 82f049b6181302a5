// Gradients that reach far back through a unit's state, kept from growing without bound.
//
// In a chaotic network the gradient grows by a factor at every step that it goes back; over a
// hundred steps it drowns what the last few say, and leaves the range of float.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "stpn/base/config.h"
#include "stpn/nn/unit.h"

namespace stpn::train {

struct StateGradientBound {
  int64_t steps = 32;  // between two places where the gradient is bounded
  // The norm that the gradient of a sequence with respect to each state tensor has there at most.
  double most = std::numeric_limits<double>::infinity();

  bool is_set() const { return std::isfinite(most); }
  // A trainer's options for it. `of`: whose loss it is, such as "a sequence"; `advice`: when to set
  // it, and to what.
  base::Field most_field(const std::string& of, const std::string& advice);
  base::Field steps_field();
};

// As unit.forward(input), with the same values up to rounding, but in backward the gradient is
// scaled down for each sample after every `bound.steps` steps. Each such piece is a call of
// unit.forward, whose closed loop counts steps from 0; before_piece(t) says with which one it
// begins.
nn::UnitOutput forward_bounded(nn::Unit& unit, const nn::UnitInput& input,
                               const StateGradientBound& bound,
                               const std::function<void(int64_t)>& before_piece = {});

}  // namespace stpn::train
