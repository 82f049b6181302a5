// A random call of Fast Weights, for tests.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/random_call.h"

namespace stpn::kernels::testing {

struct FastWeightsTestUnit {
  using Variant = FastWeightsVariant;
  template <typename T>
  using Fields = FastWeightsFields<T>;
  static constexpr auto& kTensors = kFastWeightsTensors;

  static bool has(std::string_view name, const FastWeightsVariant& v) {
    if (name == "measured") return false;  // an input of the op, which the kernels do not have
    return !name.starts_with("layer_norm_") || v.layer_norm;
  }
  static size_t alternative(std::string_view, const FastWeightsVariant&) { return 0; }
  static std::pair<double, double> range(std::string_view name, const Extent&) {
    if (name == "x" || name == "h") return {-1, 1};
    if (name == "A") return {-0.3, 0.3};
    if (name == "layer_norm_weight") return {0.5, 1.5};
    return {-0.5, 0.5};
  }

  template <typename T>
  static constexpr auto forward_ref = fast_weights_forward_ref<T>;
  template <typename T>
  static constexpr auto backward_ref = fast_weights_backward_ref<T>;
  template <typename T>
  static constexpr auto forward_cpu = fast_weights_forward_cpu<T>;
  template <typename T>
  static constexpr auto backward_cpu = fast_weights_backward_cpu<T>;
  template <typename T>
  static constexpr auto cpu_plan = fast_weights_cpu_plan<T>;
};

template <typename T>
using RandomFastWeightsCall = RandomCall<FastWeightsTestUnit, T>;

}  // namespace stpn::kernels::testing
