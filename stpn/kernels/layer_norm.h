// Layer norm of one vector, without gain and offset, and its derivative: scalar code for the
// references.
#pragma once

#include <cmath>
#include <vector>

namespace stpn::kernels {

// Added to the variance before its square root is taken.
inline constexpr double kLayerNormEpsilon = 1e-5;

// Normalises `values` in place to mean 0 and variance 1: (value - mean) / sqrt(variance + epsilon),
// where the variance is divided by the number of values. Returns 1 / sqrt(variance + epsilon).
template <typename T>
T normalise(std::vector<T>& values) {
  const T count = static_cast<T>(values.size());
  T mean = T(0);
  for (T value : values) mean += value / count;
  T variance = T(0);
  for (T value : values) variance += (value - mean) * (value - mean) / count;
  const T inverse_std = T(1) / std::sqrt(variance + static_cast<T>(kLayerNormEpsilon));
  for (T& value : values) value = (value - mean) * inverse_std;
  return inverse_std;
}

// Backpropagates through normalise(). `normalised` and `inverse_std` are its results; `gradient`
// is, on entry, the gradient of the loss with respect to `normalised`, and on return that with
// respect to the values that were normalised.
template <typename T>
void backpropagate_normalise(const std::vector<T>& normalised, T inverse_std,
                             std::vector<T>& gradient) {
  const T count = static_cast<T>(gradient.size());
  T mean = T(0);
  T mean_product = T(0);
  for (size_t i = 0; i < gradient.size(); ++i) {
    mean += gradient[i] / count;
    mean_product += gradient[i] * normalised[i] / count;
  }
  for (size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] = (gradient[i] - mean - normalised[i] * mean_product) * inverse_std;
  }
}

}  // namespace stpn::kernels
