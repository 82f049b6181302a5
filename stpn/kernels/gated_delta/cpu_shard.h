// What cpu_shard.cc compiles for each SIMD target: a block of memories through the whole sequence.
#pragma once

#include <cstdint>

#include "stpn/kernels/gated_delta/cpu_layout.h"
#include "stpn/kernels/gated_delta/equations.h"

namespace stpn::kernels {

template <typename T>
void gated_delta_shard(const GatedDeltaForwardParams<T>& p, const GatedDeltaLayout<T>& layout,
                       int64_t block);
template <typename T>
void gated_delta_shard(const GatedDeltaBackwardParams<T>& p, const GatedDeltaLayout<T>& layout,
                       int64_t block);

// How many values of T a SIMD vector has.
template <typename T>
int64_t gated_delta_lanes();

}  // namespace stpn::kernels
