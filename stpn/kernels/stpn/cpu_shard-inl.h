// One shard of the STPN's CPU kernel (cpu_shard.h), with the passes that its variant needs.
// Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_CPU_SHARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_SHARD_INL_H_
#undef STPN_KERNELS_STPN_CPU_SHARD_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_SHARD_INL_H_
#endif

#include <limits>

#include "stpn/kernels/cpu/row_halves/run-inl.h"
#include "stpn/kernels/stpn/cpu_backward-inl.h"
#include "stpn/kernels/stpn/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

// The forward and backward pass of a variant.
template <Norm kNorm, bool kClamp>
struct VariantPasses {
  template <class Layout>
  using Forward = StpnForward<Layout, kNorm, kClamp>;
  template <class Layout>
  using Backward = StpnBackward<Layout, kNorm, kClamp>;
};

// Calls run(VariantPasses<...>()) with the passes for the variant. Norm `post` always clamps, if
// only at infinity; for the other norms that would cost up to a tenth.
template <typename Run>
void with_passes(const StpnVariant& v, const Run& run) {
  const bool clamp = v.clamp < std::numeric_limits<double>::infinity();
  switch (v.norm) {
    case Norm::none:
      return clamp ? run(VariantPasses<Norm::none, true>())
                   : run(VariantPasses<Norm::none, false>());
    case Norm::preactivation:
      return clamp ? run(VariantPasses<Norm::preactivation, true>())
                   : run(VariantPasses<Norm::preactivation, false>());
    case Norm::pre:
      return clamp ? run(VariantPasses<Norm::pre, true>()) : run(VariantPasses<Norm::pre, false>());
    case Norm::post:
      return run(VariantPasses<Norm::post, true>());
  }
}

template <typename T>
void row_vectorised_forward(const StpnForwardParams<T>& p, const StpnParameters<T>& parameters,
                            const PlasticPlan<T>& plan, int64_t shard) {
  with_passes(p.variant, [&](auto passes) {
    if (parameters.halves != nullptr) {
      run_halves<decltype(passes)::template Forward>(plan, p.saved, *parameters.halves, p,
                                                     parameters);
      return;
    }
    run_shard<decltype(passes)::template Forward, false>(plan, shard, p.saved, p, parameters);
  });
}

template <typename T>
void row_vectorised_backward(const StpnBackwardParams<T>& p, const StpnParameters<T>& parameters,
                             const PlasticPlan<T>& plan, const GradientSums<T>& gradients,
                             int64_t shard) {
  const Gradients<T> gradient_sums(plan, gradients, 0, 0);
  const StpnSideBySide<T> side_by_side(plan, parameters.matrices);
  Rows rows{0, plan.rows(1)};
  with_passes(p.forward.variant, [&](auto passes) {
    if (parameters.halves != nullptr) {
      rows = run_halves<decltype(passes)::template Backward>(
          plan, p.forward.saved, *parameters.halves, p, parameters, gradient_sums, &side_by_side);
    } else {
      run_shard<decltype(passes)::template Backward, false>(
          plan, shard, p.forward.saved, p, parameters, gradient_sums, &side_by_side);
    }
  });
  side_by_side.add_sums_to(gradient_sums, rows);
}

template <typename T>
void neuron_blocks_forward(const StpnForwardParams<T>& p, const StpnParameters<T>& parameters,
                           const PlasticPlan<T>& plan, int64_t shard) {
  with_passes(p.variant, [&](auto passes) {
    run_neuron_blocks<decltype(passes)::template Forward>(plan, shard, p.saved, p, parameters);
  });
}

template <typename T>
void neuron_blocks_backward(const StpnBackwardParams<T>& p, const StpnParameters<T>& parameters,
                            const PlasticPlan<T>& plan, const GradientSums<T>& gradients,
                            int64_t shard) {
  const Gradients<T> gradient_sums(plan, gradients, kStpnMatrices,
                                   plan.neuron_block(plan.interleaved_samples));
  with_passes(p.forward.variant, [&](auto passes) {
    run_neuron_blocks<decltype(passes)::template Backward>(plan, shard, p.forward.saved, p,
                                                           parameters, gradient_sums);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
