// One shard of the batch of the Fast Weights' CPU kernel (cpu_shard.h), on the best SIMD target of
// this machine. Compiled twice, at the same time, as each takes long: CMake defines
// STPN_SHARD_TYPE, float or double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/fast_weights/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/fast_weights/cpu_shard.h"

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include "stpn/kernels/fast_weights/cpu_backward-inl.h"
#include "stpn/kernels/fast_weights/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T, bool kEnergy>
struct Groups {
  template <class Layout>
  using Forward = FastWeightsForwardGroup<Layout, kEnergy>;
  template <class Layout>
  using Backward = FastWeightsBackwardGroup<Layout>;
};

template <typename T>
void forward(const FastWeightsForwardParams<T>& p, const ProjectedParameters<T>& parameters,
             const PlasticPlan<T>& plan, int64_t shard) {
  if (p.energy == nullptr) {
    run_shard<Groups<T, false>::template Forward, kFastWeightsBatchInterleaved>(
        plan, shard, p.saved, p, parameters);
  } else {
    run_shard<Groups<T, true>::template Forward, kFastWeightsBatchInterleaved>(plan, shard, p.saved,
                                                                               p, parameters);
  }
}

template <typename T>
void backward(const FastWeightsBackwardParams<T>& p, const ProjectedParameters<T>& parameters,
              const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t shard) {
  run_shard<Groups<T, false>::template Backward, kFastWeightsBatchInterleaved>(
      plan, shard, p.forward.saved, p, parameters, gradients);
}

// What is exported has to be a function, not a template.
static constexpr auto& kForward = forward<STPN_SHARD_TYPE>;
static constexpr auto& kBackward = backward<STPN_SHARD_TYPE>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#else

namespace stpn::kernels::HWY_NAMESPACE {
static void kForward(const FastWeightsForwardParams<STPN_SHARD_TYPE>&,
                     const ProjectedParameters<STPN_SHARD_TYPE>&,
                     const PlasticPlan<STPN_SHARD_TYPE>&, int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kBackward(const FastWeightsBackwardParams<STPN_SHARD_TYPE>&,
                      const ProjectedParameters<STPN_SHARD_TYPE>&,
                      const PlasticPlan<STPN_SHARD_TYPE>&, const GradientSums<STPN_SHARD_TYPE>&,
                      int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
}  // namespace stpn::kernels::HWY_NAMESPACE

#endif

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(kForward);
HWY_EXPORT(kBackward);

template <>
void fast_weights_shard(const FastWeightsForwardParams<STPN_SHARD_TYPE>& p,
                        const ProjectedParameters<STPN_SHARD_TYPE>& parameters,
                        const PlasticPlan<STPN_SHARD_TYPE>& plan, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, parameters, plan, shard);
}
template <>
void fast_weights_shard(const FastWeightsBackwardParams<STPN_SHARD_TYPE>& p,
                        const ProjectedParameters<STPN_SHARD_TYPE>& parameters,
                        const PlasticPlan<STPN_SHARD_TYPE>& plan,
                        const GradientSums<STPN_SHARD_TYPE>& gradients, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, parameters, plan, gradients, shard);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
