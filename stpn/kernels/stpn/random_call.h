// A random call of the STPN, for tests.
#pragma once

#include <gtest/gtest.h>

#include <string_view>
#include <utility>

#include "stpn/kernels/random_call.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels::testing {

struct StpnTestUnit {
  using Variant = StpnVariant;
  template <typename T>
  using Fields = StpnFields<T>;
  static constexpr auto& kTensors = kStpnTensors;

  static bool has(std::string_view name, const StpnVariant& v) {
    if (name == "measured") return v.decay == Decay::after_update;  // in half of them
    if (name == "h") return v.recurrent;
    if (name == "beta" || name == "bias_lambda" || name == "bias_gamma") return v.plastic_bias;
    if (name.starts_with("update_")) return v.update_gate;
    if (name == "write_weight") return v.write_gate;
    if (name == "decay_weight") return v.decay_gate;
    return !name.starts_with("layer_norm") || v.layer_norm;
  }
  static size_t alternative(std::string_view name, const StpnVariant& v) {
    if (name.starts_with("weight_")) return static_cast<size_t>(v.rates);
    return name.starts_with("bias_") ? v.scalar_bias_rates : 0;
  }
  static std::pair<double, double> range(std::string_view name, const Extent&) {
    if (name == "x" || name == "h") return {-1, 1};
    if (name == "measured") return {0, 1};
    if (name == "F" || name == "beta") return {-0.3, 0.3};
    if (name.ends_with("_lambda")) return {0.2, 1};
    if (name == "layer_norm_weight") return {0.5, 1.5};
    return {-0.5, 0.5};
  }

  template <typename T>
  static constexpr auto forward_ref = stpn_forward_ref<T>;
  template <typename T>
  static constexpr auto backward_ref = stpn_backward_ref<T>;
  template <typename T>
  static constexpr auto forward_cpu = stpn_forward_cpu<T>;
  template <typename T>
  static constexpr auto backward_cpu = stpn_backward_cpu<T>;
  template <typename T>
  static constexpr auto cpu_plan = stpn_cpu_plan<T>;
};

template <typename T>
using RandomStpnCall = RandomCall<StpnTestUnit, T>;

// The other gradients are the same where nobody wants that of x.
template <typename T>
void expect_x_may_need_no_gradient(const RandomStpnCall<T>& c) {
  const auto backward = [](StpnBackwardParams<T> p) {
    p.grad_x = nullptr;
    stpn_backward_cpu(p);
  };
  const auto got = c.run(stpn_forward_cpu<T>, backward, true);
  const auto want = c.cpu();
  for (const auto& [name, gradient, row] : want.gradients) {
    if (name != "x") {
      EXPECT_EQ(got.gradient(name), gradient) << name;
    }
  }
}

}  // namespace stpn::kernels::testing
