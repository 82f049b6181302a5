// A shard of the STPN's CPU kernel, in the two parts that it is compiled in: each takes minutes.
#pragma once

#include <cstdint>

#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

// The groups that run in neuron_blocks: units that do not hear each other (stpn_feedforward_*_cpu.cc).
void stpn_neuron_blocks(const StpnForwardParams<float>& p, const PaddedMatrices<float>& parameters,
                 const PlasticPlan<float>& plan, int64_t shard);
void stpn_neuron_blocks(const StpnBackwardParams<float>& p, const PaddedMatrices<float>& parameters,
                 const PlasticPlan<float>& plan, const GradientSums<float>& gradients,
                 int64_t shard);
void stpn_neuron_blocks(const StpnForwardParams<double>& p, const PaddedMatrices<double>& parameters,
                 const PlasticPlan<double>& plan, int64_t shard);
void stpn_neuron_blocks(const StpnBackwardParams<double>& p, const PaddedMatrices<double>& parameters,
                 const PlasticPlan<double>& plan, const GradientSums<double>& gradients,
                 int64_t shard);

// All others (stpn_recurrent_*_cpu.cc).
void stpn_row_vectorised(const StpnForwardParams<float>& p, const PaddedMatrices<float>& parameters,
                const PlasticPlan<float>& plan, int64_t shard);
void stpn_row_vectorised(const StpnBackwardParams<float>& p, const PaddedMatrices<float>& parameters,
                const PlasticPlan<float>& plan, const GradientSums<float>& gradients,
                int64_t shard);
void stpn_row_vectorised(const StpnForwardParams<double>& p, const PaddedMatrices<double>& parameters,
                const PlasticPlan<double>& plan, int64_t shard);
void stpn_row_vectorised(const StpnBackwardParams<double>& p, const PaddedMatrices<double>& parameters,
                const PlasticPlan<double>& plan, const GradientSums<double>& gradients,
                int64_t shard);

}  // namespace stpn::kernels
