// Functions that compare values, for the references: NaN where what they compare is NaN, so that a
// call that has diverged shows it. (std::max, std::clamp and ?: give one of their other values.)
#pragma once

#include <cmath>

#include "stpn/kernels/host_device.h"

namespace stpn::kernels {

template <typename T>
STPN_HOST_DEVICE T at_least(T limit, T value) {
  return std::isnan(value) || value > limit ? value : limit;
}
template <typename T>
STPN_HOST_DEVICE T at_most(T limit, T value) {
  return std::isnan(value) || value < limit ? value : limit;
}
template <typename T>
STPN_HOST_DEVICE T clamped(T value, T bound) {
  return at_most(bound, at_least(-bound, value));
}

// The derivative of |value|: its sign, 0 for 0.
template <typename T>
STPN_HOST_DEVICE T sign(T value) {
  if (value > T(0)) return T(1);
  return value < T(0) ? T(-1) : value;
}

// `result` where the condition holds for `value`, else 0.
template <typename T>
STPN_HOST_DEVICE T if_not_negative(T value, T result) {
  if (std::isnan(value)) return value;
  return value >= T(0) ? result : T(0);
}
template <typename T>
STPN_HOST_DEVICE T if_positive(T value, T result) {
  if (std::isnan(value)) return value;
  return value > T(0) ? result : T(0);
}
// The gradient of `value`, given that of clamped(value, bound): it ends beyond the bound. Where the
// value is NaN it passes, as if there were no bound.
template <typename T>
STPN_HOST_DEVICE T through_clamp(T value, T bound, T gradient) {
  return std::abs(value) > bound ? T(0) : gradient;
}

}  // namespace stpn::kernels
