// Layer norm of one vector, without gain and offset.
#pragma once

#include <cmath>
#include <vector>

namespace stpn::kernels {

// Added to every variance that divides.
inline constexpr double kLayerNormEpsilon = 1e-5;

// In place: minus the mean, divided by the deviation. Returns one over the deviation.
template <typename T>
T normalise(std::vector<T>& values) {
  const T count = static_cast<T>(values.size());
  T mean = T(0);
  for (T value : values) mean += value / count;
  T variance = T(0);
  for (T value : values) variance += (value - mean) * (value - mean) / count;
  const T inverse = T(1) / std::sqrt(variance + static_cast<T>(kLayerNormEpsilon));
  for (T& value : values) value = (value - mean) * inverse;
  return inverse;
}

// In place: from the gradient of what `normalise` left to that of what it was given. `normalised`
// and `inverse` are what it left and returned.
template <typename T>
void back_through_normalise(const std::vector<T>& normalised, T inverse, std::vector<T>& gradient) {
  const T count = static_cast<T>(gradient.size());
  T mean = T(0);
  T along = T(0);
  for (size_t i = 0; i < gradient.size(); ++i) {
    mean += gradient[i] / count;
    along += gradient[i] * normalised[i] / count;
  }
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] = (gradient[i] - mean - normalised[i] * along) * inverse;
  }
}

}  // namespace stpn::kernels
