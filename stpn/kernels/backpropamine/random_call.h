// A random call of Backpropamine, for tests.
#pragma once

#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/random_call.h"

namespace stpn::kernels::testing {

struct BackpropamineTestUnit {
  using Variant = BackpropamineVariant;
  template <typename T>
  using Fields = BackpropamineFields<T>;
  static constexpr auto& kTensors = kBackpropamineTensors;

  static bool has(std::string_view name, const BackpropamineVariant& v) {
    if (name == "measured") return false;  // an input of the op, which the kernels do not have
    if (name == "E") return v.has_trace();
    if (name == "rate") return v.has_rate();
    return !name.starts_with("modulator_") || v.has_modulator();
  }
  static size_t alternative(std::string_view, const BackpropamineVariant&) { return 0; }
  static std::pair<double, double> range(std::string_view name, const Extent& extent) {
    if (name == "x" || name == "h" || name == "weight_ih") return {-1, 1};
    if (name == "P" || name == "E") return {-0.9, 0.9};
    if (name == "weight_hh" || name == "alpha") {
      // Larger weights make many of the networks chaotic, and rounding errors then grow
      // exponentially.
      const double bound = 1 / std::sqrt(static_cast<double>(extent.hidden));
      return {-bound, bound};
    }
    if (name == "modulator_weight") return {-0.7, 0.7};
    if (name == "rate") return {0.2, 0.8};
    return {-0.5, 0.5};
  }

  template <typename T>
  static constexpr auto forward_ref = backpropamine_forward_ref<T>;
  template <typename T>
  static constexpr auto backward_ref = backpropamine_backward_ref<T>;
  template <typename T>
  static constexpr auto forward_cpu = backpropamine_forward_cpu<T>;
  template <typename T>
  static constexpr auto backward_cpu = backpropamine_backward_cpu<T>;
  template <typename T>
  static constexpr auto cpu_plan = backpropamine_cpu_plan<T>;
};

template <typename T>
using RandomBackpropamineCall = RandomCall<BackpropamineTestUnit, T>;

}  // namespace stpn::kernels::testing
