// One shard of the STPN in sweeps of two time steps (cpu_shard.h), with the passes that its norm
// needs. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_TWO_STEPS_CPU_SHARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_TWO_STEPS_CPU_SHARD_INL_H_
#undef STPN_KERNELS_STPN_TWO_STEPS_CPU_SHARD_INL_H_
#else
#define STPN_KERNELS_STPN_TWO_STEPS_CPU_SHARD_INL_H_
#endif

#include "stpn/base/error.h"
#include "stpn/kernels/stpn/two_steps/cpu_backward-inl.h"
#include "stpn/kernels/stpn/two_steps/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <Norm kNorm>
struct TwoStepPasses {
  template <class Layout>
  using Forward = StpnTwoStepForward<Layout, kNorm>;
  template <class Layout>
  using Backward = StpnTwoStepBackward<Layout, kNorm>;
};

// Runs the groups of a shard: of four samples or of one.
template <template <class> class Pass, typename T, class... Arguments>
void run_two_step_groups(const PlasticPlan<T>& plan, int64_t shard, T* saved,
                         const Arguments&... arguments) {
  GroupRunner<Pass, T> runner(plan, saved);
  for (int64_t g = plan.first_group(shard); g < plan.first_group(shard + 1); ++g) {
    if (plan.size(g) == kTileRows) {
      runner.template run<RowVectorised<T, kTileRows>>(g, arguments...);
    } else {
      runner.template run<RowVectorised<T, 1>>(g, arguments...);
    }
  }
}

template <typename Run>
void with_two_step_passes(Norm norm, const Run& run) {
  switch (norm) {
    case Norm::none:
      return run(TwoStepPasses<Norm::none>());
    case Norm::preactivation:
      return run(TwoStepPasses<Norm::preactivation>());
    case Norm::pre:
      return run(TwoStepPasses<Norm::pre>());
    case Norm::post:
      break;
  }
  throw base::Error("two steps a sweep with norm post");
}

template <typename T>
void two_steps_forward(const StpnForwardParams<T>& p, const StpnParameters<T>& parameters,
                       const PlasticPlan<T>& plan, int64_t shard) {
  with_two_step_passes(p.variant.norm, [&](auto passes) {
    run_two_step_groups<decltype(passes)::template Forward>(plan, shard, p.saved, p,
                                                            parameters.matrices);
  });
}

template <typename T>
void two_steps_backward(const StpnBackwardParams<T>& p, const StpnParameters<T>& parameters,
                        const PlasticPlan<T>& plan, const GradientSums<T>& gradients,
                        int64_t shard) {
  const Gradients<T> gradient_sums(plan, gradients, 0, 0);
  with_two_step_passes(p.forward.variant.norm, [&](auto passes) {
    run_two_step_groups<decltype(passes)::template Backward>(
        plan, shard, p.forward.saved, p, parameters.matrices, gradient_sums,
        plan.first_sample(plan.first_group(shard)));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
