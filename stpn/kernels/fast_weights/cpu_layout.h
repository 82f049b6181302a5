// The CPU kernel of Fast Weights: the indices of its parameters, gradient sums and saved values,
// and the plan of a call.
#pragma once

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/fast_weights/equations.h"

namespace stpn::kernels {

// Parameter matrices, and the sums of their gradients; and vectors of gradient sums. The vectors
// from kInput on are the gradients of the input weights and the bias, laid out as in
// PaddedInputWeights.
enum FastWeightsMatrix { kSlowWeight, kFastWeightsMatrices };
enum FastWeightsVector { kGain, kOffset, kInput };

// Saved for backward at each time step: the activities s_k but the last, which is the output. With
// layer norm also, for each k, its output before gain and offset, and 1 / standard deviation, one
// value per sample.
inline int64_t saved_activity(int64_t k) { return k; }
inline int64_t saved_normalised(const FastWeightsVariant& variant, int64_t k) {
  return variant.inner_steps + k;
}

// Whether large batches run in the batch-interleaved layout.
inline constexpr bool kFastWeightsBatchInterleaved = true;

// Time steps in a time block (cpu_time_block-inl.h), at whose end A is updated. A longer block
// means fewer sweeps over A, but more pending outer products to evaluate in every step.
inline constexpr int64_t kTimeBlock = 20;

template <typename T>
PlasticPlan<T> fast_weights_plan(const Extent& extent, const FastWeightsVariant& variant,
                                 Grouping grouping = Grouping::fastest) {
  const int64_t activities = variant.inner_steps + 1;
  return PlasticPlan<T>(
      {.grouping = grouping,
       .steps = extent.steps,
       .batch = extent.batch,
       .hidden = extent.hidden,
       .fan_in = extent.hidden,
       .matrices = 1,
       .saved_per_presynaptic = variant.inner_steps + (variant.layer_norm ? activities : 0),
       .saved_per_sample = activities,
       .interval = kTimeBlock,
       .interleaved = kFastWeightsBatchInterleaved});
}

// S of the equations, from the plan.
template <typename T>
int64_t inner_steps(const PlasticPlan<T>& plan) {
  return plan.saved_per_sample - 1;
}

}  // namespace stpn::kernels
