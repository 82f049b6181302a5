// A shard of the STPN (stpn_chunk.h), with the steps that its variant takes. Compiled once a
// target.

#if defined(STPN_KERNELS_STPN_CPU_SHARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_SHARD_INL_H_
#undef STPN_KERNELS_STPN_CPU_SHARD_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_SHARD_INL_H_
#endif

#include <limits>

#include "stpn/kernels/stpn/cpu_backward-inl.h"
#include "stpn/kernels/stpn/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T, Norm kNorm, bool kClamp>
struct Passes {
  template <class Layout>
  using Forward = StpnForward<Layout, kNorm, kClamp>;
  template <class Layout>
  using Backward = StpnBackward<Layout, kNorm, kClamp>;
};

// Calls run(steps) with the steps made for the variant. Norm `post` always clamps, if only at
// infinity.
template <typename T, typename Run>
void with_passes(const StpnVariant& v, const Run& run) {
  const bool clamp = v.clamp < std::numeric_limits<double>::infinity();
  switch (v.norm) {
    case Norm::none:
      return clamp ? run(Passes<T, Norm::none, true>()) : run(Passes<T, Norm::none, false>());
    case Norm::preactivation:
      return clamp ? run(Passes<T, Norm::preactivation, true>()) : run(Passes<T, Norm::preactivation, false>());
    case Norm::pre:
      return clamp ? run(Passes<T, Norm::pre, true>()) : run(Passes<T, Norm::pre, false>());
    case Norm::post:
      return run(Passes<T, Norm::post, true>());
  }
}

template <typename T>
void row_vectorised_forward(const StpnForwardParams<T>& p, const PaddedMatrices<T>& parameters,
                   const PlasticPlan<T>& plan, int64_t shard) {
  with_passes<T>(p.variant, [&](auto steps) {
    run_shard<decltype(steps)::template Forward, false>(plan, shard, p.saved, p, parameters);
  });
}

template <typename T>
void row_vectorised_backward(const StpnBackwardParams<T>& p, const PaddedMatrices<T>& parameters,
                    const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t shard) {
  const Gradients<T> without_lane_sums(plan, gradients, 0, 0);
  with_passes<T>(p.forward.variant, [&](auto steps) {
    run_shard<decltype(steps)::template Backward, false>(plan, shard, p.forward.saved, p, parameters,
                                                         without_lane_sums);
  });
}

template <typename T>
void neuron_blocks_forward(const StpnForwardParams<T>& p, const PaddedMatrices<T>& parameters,
                    const PlasticPlan<T>& plan, int64_t shard) {
  with_passes<T>(p.variant, [&](auto steps) {
    run_neuron_blocks<decltype(steps)::template Forward>(plan, shard, p.saved, p, parameters);
  });
}

template <typename T>
void neuron_blocks_backward(const StpnBackwardParams<T>& p, const PaddedMatrices<T>& parameters,
                     const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t shard) {
  const Gradients<T> of_neuron_blocks(plan, gradients, kStpnMatrices, plan.neuron_block(plan.interleaved));
  with_passes<T>(p.forward.variant, [&](auto steps) {
    run_neuron_blocks<decltype(steps)::template Backward>(plan, shard, p.forward.saved, p, parameters,
                                                   of_neuron_blocks);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
