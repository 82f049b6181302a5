// The activation functions of the units and their derivatives, for one value.
#pragma once

#include <cmath>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/signature.h"

namespace stpn::kernels {

STPN_CHOICES(Activation, tanh, sigmoid, relu, identity);

template <typename T>
STPN_HOST_DEVICE T activate(Activation activation, T preactivation) {
  switch (activation) {
    case Activation::tanh:
      return std::tanh(preactivation);
    case Activation::sigmoid:
      return T(1) / (T(1) + std::exp(-preactivation));
    case Activation::relu:
      return at_least(T(0), preactivation);
    case Activation::identity:
      break;
  }
  return preactivation;
}

// The derivative of the activation function at the point where its value is `activity`. (For all
// four functions the derivative is a function of the value.)
template <typename T>
STPN_HOST_DEVICE T activation_slope(Activation activation, T activity) {
  switch (activation) {
    case Activation::tanh:
      return T(1) - activity * activity;
    case Activation::sigmoid:
      return activity * (T(1) - activity);
    case Activation::relu:
      return if_positive(activity, T(1));
    case Activation::identity:
      break;
  }
  return T(1);
}

}  // namespace stpn::kernels
