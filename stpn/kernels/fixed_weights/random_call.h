// A random call of a network with fixed weights, for tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "stpn/kernels/fixed_weights/equations.h"
#include "stpn/kernels/random_call.h"

namespace stpn::kernels::testing {

// What a call saves, where RandomCall asks for a plan.
struct SavedSize {
  int64_t values;
};
inline int64_t saved_size(const SavedSize& size) { return size.values; }

struct FixedWeightsTestUnit {
  using Variant = FixedWeightsVariant;
  template <typename T>
  using Fields = FixedWeightsFields<T>;
  static constexpr auto& kTensors = kFixedWeightsTensors;

  static bool has(std::string_view name, const FixedWeightsVariant& v) {
    if (name == "c") return v.cell == Cell::lstm;
    return name != "bias_hh" || v.cell != Cell::rnn;
  }
  static size_t alternative(std::string_view, const FixedWeightsVariant&) { return 0; }
  static std::pair<double, double> range(std::string_view name, const Extent& extent) {
    if (name == "weight_hh") {
      // Of a norm around 1, so that rounding does not grow from step to step.
      const double bound = 1.5 / std::sqrt(static_cast<double>(extent.hidden));
      return {-bound, bound};
    }
    return {-1, 1};
  }

  // The kernels have no energy: it is zero here.
  template <typename T, auto kForward>
  static void forward(FixedWeightsForwardParams<T>& p) {
    std::fill_n(p.energy, p.extent.steps * p.extent.batch * p.extent.hidden, T(0));
    p.energy = nullptr;
    kForward(p);
  }
  template <typename T, auto kBackward>
  static void backward(FixedWeightsBackwardParams<T>& p) {
    p.grad_energy = nullptr;
    kBackward(p);
  }
  template <typename T>
  static constexpr auto forward_ref = forward<T, fixed_weights_forward_ref<T>>;
  template <typename T>
  static constexpr auto backward_ref = backward<T, fixed_weights_backward_ref<T>>;
  template <typename T>
  static constexpr auto forward_cpu = forward<T, fixed_weights_forward_cpu<T>>;
  template <typename T>
  static constexpr auto backward_cpu = backward<T, fixed_weights_backward_cpu<T>>;
  template <typename T>
  static constexpr auto cpu_plan =
      [](const Extent& extent, const FixedWeightsVariant& variant, Grouping) {
        return std::make_unique<SavedSize>(SavedSize{fixed_weights_saved_size<T>(extent, variant)});
      };
};

template <typename T>
using RandomFixedWeightsCall = RandomCall<FixedWeightsTestUnit, T>;

}  // namespace stpn::kernels::testing
