// Which of the parameters, gradients and kept values of fast weights is which, in their CPU kernel.
#pragma once

#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/cpu/plan.h"

namespace stpn::kernels {

// Parameter matrices and the sums of their gradients; then sums of other gradients.
enum FastWeightsMatrix { kSlowWeight, kFastWeightsMatrices };
enum FastWeightsVector { kGain, kOffset, kInput };

// SavedActivations of a step's S + 1 activations: the values of all but the last, which is the output; then of
// their layer norms what came out before gain and offset, and, one value a sample, one over the
// deviation.
inline int64_t saved_activity(int64_t k) { return k; }
inline int64_t saved_normalised(const FastWeightsVariant& variant, int64_t k) {
  return variant.inner_steps + k;
}

inline constexpr bool kFastWeightsBatchInterleaved = true;

// Passes of a block, at whose end A comes up to date. A longer one passes less often over all of A,
// and over more of the activities that A has not learnt yet.
inline constexpr int64_t kTimeBlock = 20;

template <typename T>
PlasticPlan<T> fast_weights_plan(const Extent& extent, const FastWeightsVariant& variant) {
  const int64_t activities = variant.inner_steps + 1;
  return PlasticPlan<T>(
      {.steps = extent.steps,
       .batch = extent.batch,
       .hidden = extent.hidden,
       .fan_in = extent.hidden,
       .matrices = 1,
       .saved_per_presynaptic = variant.inner_steps + (variant.layer_norm ? activities : 0),
       .saved_per_sample = activities,
       .interval = kTimeBlock,
       .interleaved = kFastWeightsBatchInterleaved});
}

// S, from the plan.
template <typename T>
int64_t inner_steps(const PlasticPlan<T>& plan) {
  return plan.saved_per_sample - 1;
}

}  // namespace stpn::kernels
