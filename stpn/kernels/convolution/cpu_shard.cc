// Images through the CPU kernel for convolutions (cpu_shard.h), on the best SIMD target of this
// machine. Compiled twice, at the same time: CMake defines STPN_SHARD_TYPE, float or double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/convolution/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/convolution/cpu_shard.h"

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include "stpn/kernels/convolution/cpu_backward-inl.h"
#include "stpn/kernels/convolution/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void forward(const ConvolutionForwardParams<T>& p, const ConvolutionLayout<T>& layout,
             const T* weights, ConvolutionRange range) {
  ConvolutionForward<T>(p, layout, weights).run(range);
}

template <typename T>
void backward(const ConvolutionBackwardParams<T>& p, const ConvolutionLayout<T>& layout,
              const T* weights, T* sums, ConvolutionRange range) {
  ConvolutionBackward<T>(p, layout, weights, sums).run(range);
}

template <typename T>
int64_t lanes_of() {
  return static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
}

// What is exported has to be a function, not a template.
static constexpr auto& kForward = forward<STPN_SHARD_TYPE>;
static constexpr auto& kBackward = backward<STPN_SHARD_TYPE>;
static constexpr auto& kLanes = lanes_of<STPN_SHARD_TYPE>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#else

namespace stpn::kernels::HWY_NAMESPACE {
static void kForward(const ConvolutionForwardParams<STPN_SHARD_TYPE>&,
                     const ConvolutionLayout<STPN_SHARD_TYPE>&, const STPN_SHARD_TYPE*,
                     ConvolutionRange) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kBackward(const ConvolutionBackwardParams<STPN_SHARD_TYPE>&,
                      const ConvolutionLayout<STPN_SHARD_TYPE>&, const STPN_SHARD_TYPE*,
                      STPN_SHARD_TYPE*, ConvolutionRange) {
  throw base::Error("a kernel was called without a SIMD target");
}
static int64_t kLanes() { throw base::Error("a kernel was called without a SIMD target"); }
}  // namespace stpn::kernels::HWY_NAMESPACE

#endif

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(kForward);
HWY_EXPORT(kBackward);
HWY_EXPORT(kLanes);

template <>
void convolution_shard(const ConvolutionForwardParams<STPN_SHARD_TYPE>& p,
                       const ConvolutionLayout<STPN_SHARD_TYPE>& layout,
                       const STPN_SHARD_TYPE* weights, ConvolutionRange range) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, layout, weights, range);
}
template <>
void convolution_shard(const ConvolutionBackwardParams<STPN_SHARD_TYPE>& p,
                       const ConvolutionLayout<STPN_SHARD_TYPE>& layout,
                       const STPN_SHARD_TYPE* weights, STPN_SHARD_TYPE* sums,
                       ConvolutionRange range) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, layout, weights, sums, range);
}
template <>
int64_t convolution_lanes<STPN_SHARD_TYPE>() {
  return HWY_DYNAMIC_DISPATCH(kLanes)();
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
