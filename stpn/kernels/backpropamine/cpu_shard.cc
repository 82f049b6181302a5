// One shard of the batch of Backpropamine's CPU kernel (cpu_shard.h), on the best SIMD target of
// this machine. Compiled twice, at the same time, as each takes long: CMake defines
// STPN_SHARD_TYPE, float or double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/backpropamine/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/base/error.h"
#include "stpn/kernels/backpropamine/cpu_shard.h"

// Highway's scalar target is not compiled: where it would be chosen, dispatch.cc calls the
// reference and never this code.
#if HWY_TARGET != HWY_SCALAR

#include "stpn/kernels/backpropamine/cpu_backward-inl.h"
#include "stpn/kernels/backpropamine/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T, Addition kAddition, bool kTrace>
struct Passes {
  template <class Layout>
  using Forward = ModulatedForward<Layout, kAddition, kTrace>;
  template <class Layout>
  using Backward = ModulatedBackward<Layout, kAddition, kTrace>;
};

// Calls run(steps) with the steps made for the variant.
template <typename T, Addition kAddition, typename Run>
void with_passes_of(const BackpropamineVariant& v, const Run& run) {
  v.has_trace() ? run(Passes<T, kAddition, true>()) : run(Passes<T, kAddition, false>());
}
template <typename T, typename Run>
void with_passes(const BackpropamineVariant& v, const Run& run) {
  switch (v.addition) {
    case Addition::clamp:
    case Addition::additive:  // as SynapseUpdate has it
      return with_passes_of<T, Addition::clamp>(v, run);
    case Addition::soft_clamp:
      return with_passes_of<T, Addition::soft_clamp>(v, run);
    case Addition::decaying:
      return with_passes_of<T, Addition::decaying>(v, run);
  }
}

template <typename T>
void forward(const BackpropamineForwardParams<T>& p, const ProjectedParameters<T>& parameters,
             const PlasticPlan<T>& plan, int64_t shard) {
  with_passes<T>(p.variant, [&](auto steps) {
    run_shard<decltype(steps)::template Forward, kBackpropamineBatchInterleaved>(
        plan, shard, p.saved, p, parameters);
  });
}

template <typename T>
void backward(const BackpropamineBackwardParams<T>& p, const ProjectedParameters<T>& parameters,
              const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t shard) {
  const Gradients<T> of_layouts(plan, gradients, kSummedMatrices,
                                plan.interleaved_groups > 0 ? plan.hidden : 0);
  with_passes<T>(p.forward.variant, [&](auto steps) {
    run_shard<decltype(steps)::template Backward, kBackpropamineBatchInterleaved>(
        plan, shard, p.forward.saved, p, parameters, of_layouts);
  });
  of_layouts.add_up_lanes();
}

// What is exported has to be a function, not a template.
static constexpr auto& kForward = forward<STPN_SHARD_TYPE>;
static constexpr auto& kBackward = backward<STPN_SHARD_TYPE>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#else

namespace stpn::kernels::HWY_NAMESPACE {
static void kForward(const BackpropamineForwardParams<STPN_SHARD_TYPE>&,
                     const ProjectedParameters<STPN_SHARD_TYPE>&,
                     const PlasticPlan<STPN_SHARD_TYPE>&, int64_t) {
  throw base::Error("a kernel was called without a SIMD target");
}
static void kBackward(const BackpropamineBackwardParams<STPN_SHARD_TYPE>&,
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
void backpropamine_shard(const BackpropamineForwardParams<STPN_SHARD_TYPE>& p,
                         const ProjectedParameters<STPN_SHARD_TYPE>& parameters,
                         const PlasticPlan<STPN_SHARD_TYPE>& plan, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, parameters, plan, shard);
}
template <>
void backpropamine_shard(const BackpropamineBackwardParams<STPN_SHARD_TYPE>& p,
                         const ProjectedParameters<STPN_SHARD_TYPE>& parameters,
                         const PlasticPlan<STPN_SHARD_TYPE>& plan,
                         const GradientSums<STPN_SHARD_TYPE>& gradients, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, parameters, plan, gradients, shard);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
