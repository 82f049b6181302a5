// The STPN in groups along the sources: all units with recurrence, and what is left over without.
// Compiled once a target.

#if defined(STPN_KERNELS_STPN_RECURRENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RECURRENT_INL_H_
#undef STPN_KERNELS_STPN_RECURRENT_INL_H_
#else
#define STPN_KERNELS_STPN_RECURRENT_INL_H_
#endif

#include "stpn/kernels/stpn_recurrent_steps-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void along_forward(const StpnRecurrentForward<T>& p, const PaddedMatrices<T>& parameters,
                   const PlasticPlan<T>& plan, int64_t chunk) {
  with_steps<T>(p.variant, [&](auto steps) {
    run_chunk<decltype(steps)::template Forward, false>(plan, chunk, p.kept, p, parameters);
  });
}

template <typename T>
void along_backward(const StpnRecurrentBackward<T>& p, const PaddedMatrices<T>& parameters,
                    const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t chunk) {
  const Gradients<T> without_lanes(plan, gradients, /*lanes_rows=*/0);
  with_steps<T>(p.forward.variant, [&](auto steps) {
    run_chunk<decltype(steps)::template Backward, false>(plan, chunk, p.forward.kept, p, parameters,
                                                         without_lanes);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
