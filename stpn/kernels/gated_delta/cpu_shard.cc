// Memories through the CPU kernel of the gated delta rule (cpu_shard.h), on the best SIMD target of
// this machine. Compiled twice, at the same time: CMake defines STPN_SHARD_TYPE, float or double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/gated_delta/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/gated_delta/cpu_shard.h"

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include "stpn/kernels/gated_delta/cpu_passes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void forward(const GatedDeltaForwardParams<T>& p, const GatedDeltaLayout<T>& layout,
             int64_t block) {
  GatedDeltaPasses<T>(p, layout, block).forward();
}

template <typename T>
void backward(const GatedDeltaBackwardParams<T>& p, const GatedDeltaLayout<T>& layout,
              int64_t block) {
  GatedDeltaPasses<T>(p.forward, layout, block).backward(p);
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
static void kForward(const GatedDeltaForwardParams<STPN_SHARD_TYPE>&,
                     const GatedDeltaLayout<STPN_SHARD_TYPE>&, int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kBackward(const GatedDeltaBackwardParams<STPN_SHARD_TYPE>&,
                      const GatedDeltaLayout<STPN_SHARD_TYPE>&, int64_t) {
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
void gated_delta_shard(const GatedDeltaForwardParams<STPN_SHARD_TYPE>& p,
                       const GatedDeltaLayout<STPN_SHARD_TYPE>& layout, int64_t block) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, layout, block);
}
template <>
void gated_delta_shard(const GatedDeltaBackwardParams<STPN_SHARD_TYPE>& p,
                       const GatedDeltaLayout<STPN_SHARD_TYPE>& layout, int64_t block) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, layout, block);
}
template <>
int64_t gated_delta_lanes<STPN_SHARD_TYPE>() {
  return HWY_DYNAMIC_DISPATCH(kLanes)();
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
