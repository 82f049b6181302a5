// Which of the STPN's parameter matrices and kept values is which, in its CPU kernel.
#pragma once

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

// Parameter matrices and the sums of their gradients: one value a synapse whatever the rates; zero
// Lambda and Gamma where a synapse has no fast weight, which keeps F zero there.
enum StpnMatrix { kWeight, kLambda, kGamma, kStpnMatrices };
// Sums of gradients, besides.
enum StpnVector { kBias, kLayerNormWeight, kLayerNormBias, kBiasLambda, kBiasGamma, kStpnVectors };

// SavedActivations at each step: the drive G z / n; with a norm, the inverse of n; with norm `post`, of the
// matrix C that the step sees: its scale, where F = scale C, and C z and C G.
enum StpnSaved { kSavedPreactivation, kSavedInverseNorm, kSavedScale, kSavedCz, kSavedCG };

// After those, where the variant has them: the plastic bias that the step sees, and what layer norm
// makes of its drive. A layer norm also keeps a value a sample, Oja's rule one a source.
inline int64_t saved_plastic_bias(const StpnVariant& variant) {
  if (variant.norm == Norm::post) return kSavedCG + 1;
  return variant.norm == Norm::none ? kSavedPreactivation + 1 : kSavedInverseNorm + 1;
}
inline int64_t saved_layer_norm(const StpnVariant& variant) {
  return saved_plastic_bias(variant) + variant.plastic_bias;
}

// A sample's units hear each other.
inline bool has_coupled_neurons(const StpnVariant& variant) {
  return variant.recurrent || variant.layer_norm || variant.rule == Rule::oja;
}

template <typename T>
PlasticPlan<T> stpn_plan(const Extent& extent, const StpnVariant& variant) {
  return PlasticPlan<T>({.steps = extent.steps,
                         .batch = extent.batch,
                         .hidden = extent.hidden,
                         .fan_in = fan_in(extent, variant),
                         .matrices = 1,
                         .saved_per_neuron = saved_layer_norm(variant) + variant.layer_norm,
                         .saved_per_presynaptic = variant.rule == Rule::oja,
                         .saved_per_sample = variant.layer_norm,
                         // With coupled units it would be slower: three parameters a synapse.
                         .interleaved = !has_coupled_neurons(variant),
                         .neuron_blocks = !has_coupled_neurons(variant)});
}

}  // namespace stpn::kernels
