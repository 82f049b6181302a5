// One shard of the STPN's CPU kernel (cpu_shard.h), on the best SIMD target of this machine. CMake
// compiles this source six times, in parallel, as each takes long, and defines
//   STPN_SHARD_TYPE    float or double
//   STPN_SHARD_LAYOUT  row_vectorised, neuron_blocks or two_steps
//   STPN_SHARD_PASSES  the header that has the passes of this layout

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/stpn/cpu_shard.cc"
#include <hwy/foreach_target.h>

// After foreach_target.h, which sets the target.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/stpn/cpu_shard.h"

#define STPN_JOIN_(a, b) a##b
#define STPN_JOIN(a, b) STPN_JOIN_(a, b)

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include STPN_SHARD_PASSES

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

// HWY_EXPORT takes functions, not templates.
static constexpr auto& kForward = STPN_JOIN(STPN_SHARD_LAYOUT, _forward)<STPN_SHARD_TYPE>;
static constexpr auto& kBackward = STPN_JOIN(STPN_SHARD_LAYOUT, _backward)<STPN_SHARD_TYPE>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#else

namespace stpn::kernels::HWY_NAMESPACE {
static void kForward(const StpnForwardParams<STPN_SHARD_TYPE>&,
                     const StpnParameters<STPN_SHARD_TYPE>&, const PlasticPlan<STPN_SHARD_TYPE>&,
                     int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kBackward(const StpnBackwardParams<STPN_SHARD_TYPE>&,
                      const StpnParameters<STPN_SHARD_TYPE>&, const PlasticPlan<STPN_SHARD_TYPE>&,
                      const GradientSums<STPN_SHARD_TYPE>&, int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
}  // namespace stpn::kernels::HWY_NAMESPACE

#endif

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(kForward);
HWY_EXPORT(kBackward);

template <>
void STPN_JOIN(stpn_, STPN_SHARD_LAYOUT)(const StpnForwardParams<STPN_SHARD_TYPE>& p,
                                         const StpnParameters<STPN_SHARD_TYPE>& parameters,
                                         const PlasticPlan<STPN_SHARD_TYPE>& plan, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, parameters, plan, shard);
}
template <>
void STPN_JOIN(stpn_, STPN_SHARD_LAYOUT)(const StpnBackwardParams<STPN_SHARD_TYPE>& p,
                                         const StpnParameters<STPN_SHARD_TYPE>& parameters,
                                         const PlasticPlan<STPN_SHARD_TYPE>& plan,
                                         const GradientSums<STPN_SHARD_TYPE>& gradients,
                                         int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, parameters, plan, gradients, shard);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
