// One shard of the batch of the CPU kernel for networks with fixed weights (cpu_shard.h), on the
// best SIMD target of this machine. Compiled twice, at the same time: CMake defines
// STPN_SHARD_TYPE, float or double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/fixed_weights/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/fixed_weights/cpu_shard.h"

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include "stpn/kernels/fixed_weights/cpu_passes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void forward(const FixedWeightsForwardParams<T>& p, const FixedWeightsLayout<T>& layout,
             const T* parameters, int64_t shard) {
  switch (layout.cell) {
    case Cell::lstm:
      return FixedWeightsForward<Cell::lstm, T>(p, layout, parameters, shard).run();
    case Cell::gru:
      return FixedWeightsForward<Cell::gru, T>(p, layout, parameters, shard).run();
    case Cell::rnn:
      return FixedWeightsForward<Cell::rnn, T>(p, layout, parameters, shard).run();
  }
}

template <typename T>
void backward(const FixedWeightsBackwardParams<T>& p, const FixedWeightsLayout<T>& layout,
              const BackwardWeights<T>& weights, T* sums, int64_t shard) {
  switch (layout.cell) {
    case Cell::lstm:
      return FixedWeightsBackward<Cell::lstm, T>(p, layout, weights, sums, shard).run();
    case Cell::gru:
      return FixedWeightsBackward<Cell::gru, T>(p, layout, weights, sums, shard).run();
    case Cell::rnn:
      return FixedWeightsBackward<Cell::rnn, T>(p, layout, weights, sums, shard).run();
  }
}

template <typename T>
void transpose_all(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to,
                   int64_t to_stride) {
  transpose(from, from_stride, rows, columns, to, to_stride);
}

// What is exported has to be a function, not a template.
static constexpr auto& kForward = forward<STPN_SHARD_TYPE>;
static constexpr auto& kBackward = backward<STPN_SHARD_TYPE>;
static constexpr auto& kTranspose = transpose_all<STPN_SHARD_TYPE>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#else

namespace stpn::kernels::HWY_NAMESPACE {
static void kForward(const FixedWeightsForwardParams<STPN_SHARD_TYPE>&,
                     const FixedWeightsLayout<STPN_SHARD_TYPE>&, const STPN_SHARD_TYPE*, int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kBackward(const FixedWeightsBackwardParams<STPN_SHARD_TYPE>&,
                      const FixedWeightsLayout<STPN_SHARD_TYPE>&,
                      const BackwardWeights<STPN_SHARD_TYPE>&, STPN_SHARD_TYPE*, int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kTranspose(const STPN_SHARD_TYPE*, int64_t, int64_t, int64_t, STPN_SHARD_TYPE*,
                       int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
}  // namespace stpn::kernels::HWY_NAMESPACE

#endif

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(kForward);
HWY_EXPORT(kBackward);
HWY_EXPORT(kTranspose);

template <>
void fixed_weights_shard(const FixedWeightsForwardParams<STPN_SHARD_TYPE>& p,
                         const FixedWeightsLayout<STPN_SHARD_TYPE>& layout,
                         const STPN_SHARD_TYPE* parameters, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, layout, parameters, shard);
}
template <>
void fixed_weights_shard(const FixedWeightsBackwardParams<STPN_SHARD_TYPE>& p,
                         const FixedWeightsLayout<STPN_SHARD_TYPE>& layout,
                         const BackwardWeights<STPN_SHARD_TYPE>& weights, STPN_SHARD_TYPE* sums,
                         int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, layout, weights, sums, shard);
}
template <>
void fixed_weights_transpose(const STPN_SHARD_TYPE* from, int64_t from_stride, int64_t rows,
                             int64_t columns, STPN_SHARD_TYPE* to, int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(kTranspose)(from, from_stride, rows, columns, to, to_stride);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
