// The STPN without recurrence, in slices across the samples. Compiled once a target.

#if defined(STPN_KERNELS_STPN_FEEDFORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_FEEDFORWARD_INL_H_
#undef STPN_KERNELS_STPN_FEEDFORWARD_INL_H_
#else
#define STPN_KERNELS_STPN_FEEDFORWARD_INL_H_
#endif

#include "stpn/kernels/stpn_recurrent_steps-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
void slices_forward(const StpnRecurrentForward<T>& p, const PaddedMatrices<T>& parameters,
                    const PlasticPlan<T>& plan, int64_t chunk) {
  with_steps<T>(p.variant, [&](auto steps) {
    run_slices<decltype(steps)::template Forward>(plan, chunk, p.kept, p, parameters);
  });
}

template <typename T>
void slices_backward(const StpnRecurrentBackward<T>& p, const PaddedMatrices<T>& parameters,
                     const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t chunk) {
  const Gradients<T> of_slices(plan, gradients, plan.slice(plan.across));
  with_steps<T>(p.forward.variant, [&](auto steps) {
    run_slices<decltype(steps)::template Backward>(plan, chunk, p.forward.kept, p, parameters,
                                                   of_slices);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
