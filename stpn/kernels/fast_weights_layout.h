// Which of the parameters, gradients and kept values of fast weights is which, in their CPU kernel.
#pragma once

#include "stpn/kernels/fast_weights.h"
#include "stpn/kernels/plastic_plan.h"

namespace stpn::kernels {

// Parameter matrices and the sums of their gradients; then sums of other gradients.
enum FastWeightsMatrix { kSlowWeight, kFastWeightsMatrices };
enum FastWeightsVector { kGain, kOffset, kFastWeightsVectors };

// Kept of each of a step's S + 1 activations: its value; and of its layer norm what came out before
// gain and offset, and one over the deviation.
enum FastWeightsKept { kKeptActivity, kKeptNormalised, kKeptInverseDeviation };

inline int64_t kept_per_activity(const FastWeightsVariant& variant) {
  return variant.layer_norm ? kKeptInverseDeviation + 1 : kKeptActivity + 1;
}

inline constexpr bool kFastWeightsAcross = true;

template <typename T>
PlasticPlan<T> fast_weights_plan(const Extent& extent, const FastWeightsVariant& variant) {
  return PlasticPlan<T>({.steps = extent.steps,
                         .batch = extent.batch,
                         .hidden = extent.hidden,
                         .sources = extent.hidden,
                         .matrices = 1,
                         .kept_per_unit = (variant.inner_steps + 1) * kept_per_activity(variant),
                         .across = kFastWeightsAcross});
}

}  // namespace stpn::kernels
