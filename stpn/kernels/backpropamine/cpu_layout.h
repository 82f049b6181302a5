// Which matrices and kept values are which in Backpropamine's CPU kernel.
#pragma once

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cpu/plan.h"

namespace stpn::kernels {

// Of a sample; E with a trace only.
enum BackpropamineState { kP, kE };

// Parameter matrices and the sums of their gradients. That of W is a product of activities and
// gradients; those before it are summed a synapse at a time.
enum BackpropamineMatrix { kAlpha, kWeight, kBackpropamineMatrices };
inline constexpr int64_t kSummedMatrices = kAlpha + 1;
// Sums of gradients, besides; of kModulatorBias and kRate only the first value. From kInput on
// those of the inputs, as PaddedInputWeights has them.
enum BackpropamineVector { kModulatorWeight, kModulatorBias, kRate, kInput };

// SavedActivations at each step where there is a modulator: its value, one a sample.
enum BackpropamineSaved { kSavedModulator, kBackpropamineSaved };

inline constexpr bool kBackpropamineBatchInterleaved = true;

template <typename T>
PlasticPlan<T> backpropamine_plan(const Extent& extent, const BackpropamineVariant& variant) {
  return PlasticPlan<T>({.steps = extent.steps,
                         .batch = extent.batch,
                         .hidden = extent.hidden,
                         .fan_in = extent.hidden,
                         .matrices = variant.has_trace() ? 2 : 1,
                         .saved_per_sample = variant.has_modulator() ? kBackpropamineSaved : 0,
                         .interleaved = kBackpropamineBatchInterleaved});
}

}  // namespace stpn::kernels
