// Which calls of the STPN have their rows in halves (stpn/kernels/cpu/row_halves/).
#pragma once

#include <cstdint>

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

// How many synapses a thread handles in that time, in the steps of each pass: measured in float
// with AVX-512. What is slower gains more from two threads.
inline constexpr int64_t kForwardSynapsesInNanosecond = 6, kBackwardSynapsesInNanosecond = 2;

// A single sample of a long sequence, of neurons that depend on each other's h[t-1] and on nothing
// else.
template <typename T>
bool has_row_halves(const Extent& extent, const StpnVariant& variant, const PlasticPlan<T>& plan) {
  constexpr int64_t kLeastSynapses = 1024, kLeastOfAllSteps = 256 * 1024;
  const int64_t synapses = extent.hidden * fan_in(extent, variant);
  const bool one_sample = extent.batch == 1 && plan.row_vectorised_samples > 1;
  return one_sample && !plan.two_steps && synapses >= kLeastSynapses &&
         synapses * extent.steps >= kLeastOfAllSteps && plan.padded(1) < extent.hidden &&
         variant.recurrent && variant.rule == Rule::hebb && !has_current_activity(variant) &&
         !variant.layer_norm && !variant.plastic_bias && !variant.has_gates();
}

}  // namespace stpn::kernels
