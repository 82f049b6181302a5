// A classifier's loss through the CPU kernel (cpu_shard.h), on the best SIMD target of this
// machine. Compiled twice, at the same time: CMake defines STPN_SHARD_TYPE, float or double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/classifier_loss/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/classifier_loss/cpu_shard.h"

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include "stpn/kernels/classifier_loss/cpu_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
double run(const ClassifierLossParams<T>& p) {
  return ClassifierLossRows<T>(p).run();
}

// What is exported has to be a function, not a template.
static constexpr auto& kRun = run<STPN_SHARD_TYPE>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#else

namespace stpn::kernels::HWY_NAMESPACE {
static double kRun(const ClassifierLossParams<STPN_SHARD_TYPE>&) {
  throw base::Error("a kernel was called without a SIMD target");
}
}  // namespace stpn::kernels::HWY_NAMESPACE

#endif

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(kRun);

template <>
double classifier_loss_shard(const ClassifierLossParams<STPN_SHARD_TYPE>& p) {
  return HWY_DYNAMIC_DISPATCH(kRun)(p);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
