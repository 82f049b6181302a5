// One shard of the batch through the STPN's CPU kernel: what cpu_shard.cc compiles for each SIMD
// target.
#pragma once

#include <cstdint>

#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/gates/cpu_parameters.h"

namespace stpn::kernels {

// The groups that run in neuron blocks: those of variants whose neurons do not depend on each
// other.
template <typename T>
void stpn_neuron_blocks(const StpnForwardParams<T>& p, const StpnParameters<T>& parameters,
                        const PlasticPlan<T>& plan, int64_t shard);
template <typename T>
void stpn_neuron_blocks(const StpnBackwardParams<T>& p, const StpnParameters<T>& parameters,
                        const PlasticPlan<T>& plan, const GradientSums<T>& gradients,
                        int64_t shard);

// All groups, in sweeps of two time steps, where the plan has these.
template <typename T>
void stpn_two_steps(const StpnForwardParams<T>& p, const StpnParameters<T>& parameters,
                    const PlasticPlan<T>& plan, int64_t shard);
template <typename T>
void stpn_two_steps(const StpnBackwardParams<T>& p, const StpnParameters<T>& parameters,
                    const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t shard);

// All other groups.
template <typename T>
void stpn_row_vectorised(const StpnForwardParams<T>& p, const StpnParameters<T>& parameters,
                         const PlasticPlan<T>& plan, int64_t shard);
template <typename T>
void stpn_row_vectorised(const StpnBackwardParams<T>& p, const StpnParameters<T>& parameters,
                         const PlasticPlan<T>& plan, const GradientSums<T>& gradients,
                         int64_t shard);

}  // namespace stpn::kernels
