// What cpu_shard.cc compiles for each SIMD target: one shard of the batch through the CPU kernel,
// and transposition.
#pragma once

#include <cstdint>

#include "stpn/kernels/fixed_weights/cpu_layout.h"
#include "stpn/kernels/fixed_weights/equations.h"

namespace stpn::kernels {

template <typename T>
void fixed_weights_shard(const FixedWeightsForwardParams<T>& p, const FixedWeightsLayout<T>& layout,
                         const T* parameters, int64_t shard);
// `parameters`, and `sums` of the shard's gradients, which are written: as the layout has them.
template <typename T>
void fixed_weights_shard(const FixedWeightsBackwardParams<T>& p,
                         const FixedWeightsLayout<T>& layout, const BackwardWeights<T>& weights,
                         T* sums, int64_t shard);

// to[c][r] = from[r][c]; rows are `from_stride` and `to_stride` values apart.
template <typename T>
void fixed_weights_transpose(const T* from, int64_t from_stride, int64_t rows, int64_t columns,
                             T* to, int64_t to_stride);

}  // namespace stpn::kernels
