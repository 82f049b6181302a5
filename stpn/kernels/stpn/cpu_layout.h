// The order of the STPN's parameter matrices, gradients and saved values in its CPU kernel, and its
// plan.
#pragma once

#include <limits>

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/gates/cpu_parameters.h"

namespace stpn::kernels {

// Parameter matrices and the sums of their gradients. Each has one value per synapse, whatever
// `rates` is; Lambda and Gamma are zero where a synapse has no fast weight, so that F stays zero
// there.
enum StpnMatrix { kWeight, kLambda, kGamma, kStpnMatrices };
// The other sums of gradients, (H) each.
enum StpnVector { kBias, kLayerNormWeight, kLayerNormBias, kBiasLambda, kBiasGamma, kStpnVectors };

// Neuron values saved at each step: the pre-activation G z / n without bias; with a norm, 1 / n;
// with norm `post`, where F = C / m (cpu_backward-inl.h), also 1 / m, C z and C.G, with the C of
// the start of the step.
enum StpnSaved { kSavedPreactivation, kSavedInverseNorm, kSavedScale, kSavedCz, kSavedCG };

// After those, where the variant has them: the plastic bias at the start of the step, and the
// normalised pre-activation. A layer norm also saves one value per sample, Oja's rule one per
// presynaptic input.
inline int64_t saved_plastic_bias(const StpnVariant& variant) {
  if (variant.norm == Norm::post) return kSavedCG + 1;
  return variant.norm == Norm::none ? kSavedPreactivation + 1 : kSavedInverseNorm + 1;
}
inline int64_t saved_layer_norm(const StpnVariant& variant) {
  return saved_plastic_bias(variant) + variant.plastic_bias;
}
// Then the gates: the update gate and the candidate act(u); the write gate; the decay gate and what
// the update multiplies F by. With rule `delta`, last: v, F z / n and the growth before its gate.
inline int64_t saved_update_gate(const StpnVariant& variant) {
  return saved_layer_norm(variant) + variant.layer_norm;
}
inline int64_t saved_write_gate(const StpnVariant& variant) {
  return saved_update_gate(variant) + 2 * variant.update_gate;
}
inline int64_t saved_decay_gate(const StpnVariant& variant) {
  return saved_write_gate(variant) + variant.write_gate;
}
inline int64_t saved_written(const StpnVariant& variant) {
  return saved_decay_gate(variant) + 2 * variant.decay_gate;
}
inline int64_t saved_after_gates(const StpnVariant& variant) {
  return saved_written(variant) + (variant.rule == Rule::delta ? 3 : 0);
}

// Whether the neurons of the unit depend on each other within a time step or from one to the next.
inline bool has_coupled_neurons(const StpnVariant& variant) {
  return variant.recurrent || variant.layer_norm || variant.rule != Rule::hebb;
}

// The presynaptic inputs [begin, end) have fast weights.
struct PlasticColumns {
  PlasticColumns(const Extent& extent, const StpnVariant& variant)
      : begin(first_plastic_input(extent, variant)),
        end(begin + plastic_fan_in(extent, variant)),
        are_all(end - begin == fan_in(extent, variant)) {}
  int64_t begin, end;
  bool are_all;  // whether every presynaptic input has fast weights
};

// Whether plastic synapses have h[t] in place of h[t-1] in the Hebbian term.
inline bool has_current_activity(const StpnVariant& variant) {
  return variant.recurrent && variant.presynaptic == Presynaptic::current &&
         variant.connections != Connections::input;
}

// What the sweeps of two steps (two_steps/) are made for. They go twice over recurrent columns.
inline bool has_two_steps(const Extent& extent, const StpnVariant& variant) {
  return variant.recurrent && extent.inputs >= extent.hidden && variant.norm != Norm::post &&
         variant.rule == Rule::hebb && variant.connections == Connections::all &&
         !has_current_activity(variant) && !variant.layer_norm && !variant.plastic_bias &&
         !variant.has_gates() && variant.clamp == std::numeric_limits<double>::infinity();
}
// After the other neuron values, where the plan has sweeps of two steps: four sums of steps t and
// t + 1, two of them saved at step t and two at step t + 1. NaN: the steps went one by one.
enum StpnPairSum { kSavedDz, kSavedEz, kSavedDG, kSavedEG, kSavedPairSums };
static_assert(kSavedPairSums == 2 * kSavedForTwoSteps);
inline int64_t saved_pair_sums(const StpnVariant& variant) { return saved_after_gates(variant); }
// Marks all steps of a call as gone one by one, for a forward pass that does not take pairs.
template <typename T>
void mark_single_steps(const StpnVariant& variant, const PlasticPlan<T>& plan, T* saved) {
  for (int64_t group = 0; group < plan.groups; ++group) {
    const int64_t neurons = plan.neurons(plan.size(group));
    for (int64_t t = 0; t < plan.steps; ++t) {
      saved[plan.saved_offset(group) + (t * plan.saved_per_neuron + saved_pair_sums(variant)) *
                                           neurons] = std::numeric_limits<T>::quiet_NaN();
    }
  }
}

template <typename T>
PlasticPlan<T> stpn_plan(const Extent& extent, const StpnVariant& variant,
                         Grouping grouping = Grouping::fastest) {
  return PlasticPlan<T>(
      {.grouping = grouping,
       .steps = extent.steps,
       .batch = extent.batch,
       .hidden = extent.hidden,
       .fan_in = fan_in(extent, variant),
       .matrices = 1,
       .saved_per_neuron = saved_after_gates(variant),
       .saved_per_presynaptic = variant.rule == Rule::oja,
       .saved_per_sample = variant.layer_norm,
       // With coupled neurons this layout is slower: there are three parameters per synapse.
       .interleaved = !has_coupled_neurons(variant),
       .neuron_blocks = !has_coupled_neurons(variant),
       .two_steps = has_two_steps(extent, variant)});
}

}  // namespace stpn::kernels
