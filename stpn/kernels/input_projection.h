// The input projection W x[t] + b (the part of the pre-activations that comes from the inputs
// through fixed weights) and its derivative: scalar code for the references.
#pragma once

#include <cstdint>
#include <vector>

#include "stpn/kernels/extent.h"

namespace stpn::kernels {

// InputWeights<T>: the weights and the bias. InputWeights<T, T>: the arrays to which their
// gradients are added, null where a gradient is not wanted.
template <typename T, typename U = const T>
struct InputWeights {
  U* weight = nullptr;  // (H, columns); the first I columns belong to the inputs
  int64_t columns = 0;
  U* bias = nullptr;  // (H)
};

// Returns W x + b, (H), for x (I), the inputs of one sample at one time step.
template <typename T>
std::vector<T> input_projection(const Extent& extent, const InputWeights<T>& weights, const T* x) {
  std::vector<T> preactivation(weights.bias, weights.bias + extent.hidden);
  for (int64_t i = 0; i < extent.hidden; ++i) {
    for (int64_t j = 0; j < extent.inputs; ++j)
      preactivation[i] += weights.weight[i * weights.columns + j] * x[j];
  }
  return preactivation;
}

// Given d_preactivation (H), the gradient of the loss with respect to the projection: adds to
// `gradients` and writes grad_x (I) unless it is null.
template <typename T>
void backpropagate_input_projection(const Extent& extent, const InputWeights<T>& weights,
                                    const T* x, const std::vector<T>& d_preactivation,
                                    const InputWeights<T, T>& gradients, T* grad_x) {
  for (int64_t j = 0; j < extent.inputs; ++j) {
    T dx = T(0);
    for (int64_t i = 0; i < extent.hidden; ++i) {
      const int64_t k = i * weights.columns + j;
      dx += d_preactivation[i] * weights.weight[k];
      if (gradients.weight != nullptr) gradients.weight[k] += d_preactivation[i] * x[j];
    }
    if (grad_x != nullptr) grad_x[j] = dx;
  }
  for (int64_t i = 0; i < extent.hidden && gradients.bias != nullptr; ++i) {
    gradients.bias[i] += d_preactivation[i];
  }
}

}  // namespace stpn::kernels
