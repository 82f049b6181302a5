// One shard of the batch through Backpropamine's CPU kernel: what cpu_shard.cc compiles for each
// SIMD target.
#pragma once

#include <cstdint>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/cpu/plan.h"

namespace stpn::kernels {

template <typename T>
void backpropamine_shard(const BackpropamineForwardParams<T>& p,
                         const ProjectedParameters<T>& parameters, const PlasticPlan<T>& plan,
                         int64_t shard);
template <typename T>
void backpropamine_shard(const BackpropamineBackwardParams<T>& p,
                         const ProjectedParameters<T>& parameters, const PlasticPlan<T>& plan,
                         const GradientSums<T>& gradients, int64_t shard);

}  // namespace stpn::kernels
