// Which of the STPN's parameter matrices and kept values is which, in its CPU kernel.
#pragma once

#include <algorithm>

#include "stpn/kernels/plastic_plan.h"
#include "stpn/kernels/stpn_recurrent.h"

namespace stpn::kernels {

// Parameter matrices and the sums of their gradients: one value a synapse whatever the rates; zero
// Lambda and Gamma where a synapse has no fast weight, which keeps F zero there.
enum StpnMatrix { kWeight, kLambda, kGamma, kStpnMatrices };
// Sums of gradients, besides.
enum StpnVector { kBias, kStpnVectors };

// Kept at each step: the drive G z / n; with a norm, the inverse of n; with norm `post`, of the
// matrix C that the step sees: its scale, where F = scale C, and C z and C G.
enum StpnKept { kKeptDrive, kKeptInverseNorm, kKeptScale, kKeptAlongDrive, kKeptAlongG };

template <typename T>
PlasticPlan<T> stpn_recurrent_plan(const Extent& extent, const StpnRecurrentVariant& variant) {
  int64_t kept = kKeptDrive + 1;
  if (variant.norm != Norm::none) kept = kKeptInverseNorm + 1;
  if (variant.norm == Norm::post) kept = kKeptAlongG + 1;
  return PlasticPlan<T>({.steps = extent.steps,
                         .batch = extent.batch,
                         .hidden = extent.hidden,
                         .sources = sources(extent, variant),
                         .matrices = 1,
                         .kept_per_unit = kept,
                         // With recurrence it would be slower: three parameters a synapse.
                         .across = !variant.recurrent,
                         .slices = !variant.recurrent});
}

}  // namespace stpn::kernels
