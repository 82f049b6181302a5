// Backpropamine's CPU kernel: the indices of its matrices, gradient sums and saved values, and the
// plan of a call.
#pragma once

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cpu/plan.h"

namespace stpn::kernels {

// State matrices (H, H) of each sample; kE only in variants with a trace.
enum BackpropamineState { kP, kE };

// Parameter matrices, and the sums of their gradients. The gradient of kWeight is computed for many
// time steps at once, as a matrix product; the matrices before it (the first kSummedMatrices) are
// summed synapse by synapse in every time step.
enum BackpropamineMatrix { kAlpha, kWeight, kBackpropamineMatrices };
inline constexpr int64_t kSummedMatrices = kAlpha + 1;
// Vectors of gradient sums. Of kModulatorBias and kRate only the first value is used. The vectors
// from kInput on are the gradients of the input weights and the bias, laid out as in
// PaddedInputWeights.
enum BackpropamineVector { kModulatorWeight, kModulatorBias, kRate, kInput };

// Saved for backward at each time step in variants with a modulator: m, one value per sample.
enum BackpropamineSaved { kSavedModulator, kBackpropamineSaved };

// Whether large batches run in the batch-interleaved layout.
inline constexpr bool kBackpropamineBatchInterleaved = true;

template <typename T>
PlasticPlan<T> backpropamine_plan(const Extent& extent, const BackpropamineVariant& variant,
                                  Grouping grouping = Grouping::fastest) {
  return PlasticPlan<T>({.grouping = grouping,
                         .steps = extent.steps,
                         .batch = extent.batch,
                         .hidden = extent.hidden,
                         .fan_in = extent.hidden,
                         .matrices = variant.has_trace() ? 2 : 1,
                         .saved_per_sample = variant.has_modulator() ? kBackpropamineSaved : 0,
                         .interleaved = kBackpropamineBatchInterleaved});
}

}  // namespace stpn::kernels
