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

template <typename T>
PlasticPlan<T> fast_weights_plan(const Extent& extent, const FastWeightsVariant& variant) {
  return PlasticPlan<T>({.steps = extent.steps,
                         .batch = extent.batch,
                         .hidden = extent.hidden,
                         .sources = extent.hidden,
                         .matrices = 1,
                         .kept_per_unit = (variant.inner_steps + 1) * kept_per_activity(variant)});
}

// Unit values [rows][S] as presynaptic activity [S][row], and back.
template <int S, typename T>
void units_to_rows(const PlasticPlan<T>& plan, const T* units, T* rows) {
  for (int s = 0; s < S; ++s) {
    for (int64_t i = 0; i < plan.hidden; ++i) rows[s * plan.row + i] = units[i * S + s];
  }
}
template <int S, typename T>
void rows_to_units(const PlasticPlan<T>& plan, const T* rows, T* units) {
  for (int s = 0; s < S; ++s) {
    for (int64_t i = 0; i < plan.hidden; ++i) units[i * S + s] = rows[s * plan.row + i];
  }
}

}  // namespace stpn::kernels
