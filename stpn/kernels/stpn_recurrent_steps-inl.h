// Which step of the STPN a variant takes. Compiled once a target.

#if defined(STPN_KERNELS_STPN_RECURRENT_STEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RECURRENT_STEPS_INL_H_
#undef STPN_KERNELS_STPN_RECURRENT_STEPS_INL_H_
#else
#define STPN_KERNELS_STPN_RECURRENT_STEPS_INL_H_
#endif

#include <limits>

#include "stpn/kernels/stpn_recurrent_backward-inl.h"
#include "stpn/kernels/stpn_recurrent_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T, Norm kNorm, bool kClamp>
struct Steps {
  template <class Layout>
  using Forward = StpnForward<Layout, kNorm, kClamp>;
  template <class Layout>
  using Backward = StpnBackward<Layout, kNorm, kClamp>;
};

// Calls run(steps) with the steps made for the variant. Norm `post` always clamps, if only at
// infinity.
template <typename T, typename Run>
void with_steps(const StpnRecurrentVariant& v, const Run& run) {
  const bool clamp = v.clamp < std::numeric_limits<double>::infinity();
  switch (v.norm) {
    case Norm::none:
      return clamp ? run(Steps<T, Norm::none, true>()) : run(Steps<T, Norm::none, false>());
    case Norm::drive:
      return clamp ? run(Steps<T, Norm::drive, true>()) : run(Steps<T, Norm::drive, false>());
    case Norm::pre:
      return clamp ? run(Steps<T, Norm::pre, true>()) : run(Steps<T, Norm::pre, false>());
    case Norm::post:
      return run(Steps<T, Norm::post, true>());
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
