// One shard of the STPN's CPU kernel: forward or backward of its groups of samples, in two parts,
// one for each layout (cpu_shard.cc).
#pragma once

#include <cstdint>

#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

// The groups of the shard that run in neuron blocks: neurons that are independent of each other.
// Backward adds to `gradients`.
void stpn_neuron_blocks(const StpnForwardParams<float>& p, const PaddedMatrices<float>& parameters,
                        const PlasticPlan<float>& plan, int64_t shard);
void stpn_neuron_blocks(const StpnBackwardParams<float>& p, const PaddedMatrices<float>& parameters,
                        const PlasticPlan<float>& plan, const GradientSums<float>& gradients,
                        int64_t shard);
void stpn_neuron_blocks(const StpnForwardParams<double>& p,
                        const PaddedMatrices<double>& parameters, const PlasticPlan<double>& plan,
                        int64_t shard);
void stpn_neuron_blocks(const StpnBackwardParams<double>& p,
                        const PaddedMatrices<double>& parameters, const PlasticPlan<double>& plan,
                        const GradientSums<double>& gradients, int64_t shard);

// All other groups of the shard.
void stpn_row_vectorised(const StpnForwardParams<float>& p, const PaddedMatrices<float>& parameters,
                         const PlasticPlan<float>& plan, int64_t shard);
void stpn_row_vectorised(const StpnBackwardParams<float>& p,
                         const PaddedMatrices<float>& parameters, const PlasticPlan<float>& plan,
                         const GradientSums<float>& gradients, int64_t shard);
void stpn_row_vectorised(const StpnForwardParams<double>& p,
                         const PaddedMatrices<double>& parameters, const PlasticPlan<double>& plan,
                         int64_t shard);
void stpn_row_vectorised(const StpnBackwardParams<double>& p,
                         const PaddedMatrices<double>& parameters, const PlasticPlan<double>& plan,
                         const GradientSums<double>& gradients, int64_t shard);

}  // namespace stpn::kernels
