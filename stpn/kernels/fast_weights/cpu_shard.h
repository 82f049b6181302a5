// One shard of the batch through the Fast Weights' CPU kernel: what cpu_shard.cc compiles for each
// SIMD target.
#pragma once

#include <cstdint>

#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/fast_weights/equations.h"

namespace stpn::kernels {

template <typename T>
void fast_weights_shard(const FastWeightsForwardParams<T>& p,
                        const ProjectedParameters<T>& parameters, const PlasticPlan<T>& plan,
                        int64_t shard);
template <typename T>
void fast_weights_shard(const FastWeightsBackwardParams<T>& p,
                        const ProjectedParameters<T>& parameters, const PlasticPlan<T>& plan,
                        const GradientSums<T>& gradients, int64_t shard);

}  // namespace stpn::kernels
