// Gradients that reach far back through a unit's state, kept from growing without bound.
//
// In a chaotic network the gradient grows by a factor at every step that it goes back; over a
// hundred steps it drowns what the last few say, and leaves the range of float.
#pragma once

#include <cstdint>
#include <limits>

#include "stpn/nn/models/classifier.h"

namespace stpn::train {

struct StateGradientBound {
  int64_t steps = 32;  // between two places where the gradient is bounded
  // The norm that the gradient of a sequence with respect to each state tensor has there at most.
  double most = std::numeric_limits<double>::infinity();
};

// As model.forward(input, first), with the same values of the outputs up to rounding, but in
// backward the gradient is scaled down for each sample after every `bound.steps` steps.
// REQUIRES: no closed loop.
nn::Classifier::Output forward_bounded(nn::Classifier& model, const nn::UnitInput& input,
                                       int64_t first, const StateGradientBound& bound);

}  // namespace stpn::train
