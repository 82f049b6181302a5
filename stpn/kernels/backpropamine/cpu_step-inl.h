// What the steps of Backpropamine forward and backward share: layout and the update of a synapse.
// Compiled once a target.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_STEP_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_STEP_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_STEP_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/backpropamine/cpu_layout.h"
#include "stpn/kernels/cpu/group_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// P and E of a synapse after a step, from those before it, m, and what m multiplies: X, which is D,
// or E with a trace.
//
// kPlain: clamp or additive, whose bound is infinite. The other additions are told apart at run
// time.
template <typename T, bool kPlain>
class SynapseUpdate {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;

 public:
  explicit HWY_INLINE SynapseUpdate(const BackpropamineForwardParams<T>& call)
      : decaying_(call.variant.addition == Addition::decaying),
        bound_(hn::Set(D(), static_cast<T>(call.variant.bound()))),
        rate_(hn::Set(D(), call.rate == nullptr ? T(0) : call.rate[0])) {}

  HWY_INLINE V updated(V P, V m, V X) const { return clamped(unclamped(P, m, X), bound_); }
  // In replay what the clamp cuts goes to just outside the bound, so that P itself tells it from
  // what was as large as the bound.
  HWY_INLINE V recomputed(V P, V m, V X, V just_outside) const {
    return clamped(unclamped(P, m, X), just_outside);
  }
  static HWY_INLINE V clamped(V P, V bound) { return hn::Min(hn::Max(P, hn::Neg(bound)), bound); }
  HWY_INLINE V trace(V E, V hebbian) const { return hn::MulAdd(rate_, hn::Sub(hebbian, E), E); }

  // From the gradient of the new P, as replay left it, to that of the new P before its clamp.
  HWY_INLINE V back_clamp(V new_P, V dP) const {
    return hn::IfThenElseZero(hn::Le(hn::Abs(new_P), bound_), dP);
  }
  // On to that of d = m X, which is returned, and of the old P; adds to d_m what m gets beside d.
  // If plain, P, m and X are not read.
  HWY_INLINE V back(V P, V m, V X, V& dP, V& d_m) const {
    if constexpr (kPlain) return dP;
    const V d_new = dP;
    if (decaying_) {
      d_m = hn::NegMulAdd(d_new, P, d_m);
      dP = hn::NegMulAdd(d_new, m, d_new);
      return d_new;
    }
    const V zero = hn::Zero(D());
    const V one = hn::Set(D(), T(1));
    const V d = hn::Mul(m, X);
    dP = hn::NegMulAdd(d_new, hn::Abs(d), d_new);
    const V up = hn::IfThenElseZero(hn::Ge(d, zero), hn::Sub(one, P));
    const V down = hn::IfThenElseZero(hn::Le(d, zero), hn::Add(one, P));
    return hn::Mul(d_new, hn::Add(up, down));
  }
  // From the gradient of the new E to that of D, which is returned, of the old E, and of the rate.
  HWY_INLINE V back_trace(V E, V hebbian, V& dE, V& d_rate) const {
    d_rate = hn::MulAdd(dE, hn::Sub(hebbian, E), d_rate);
    const V d_hebbian = hn::Mul(dE, rate_);
    dE = hn::Sub(dE, d_hebbian);
    return d_hebbian;
  }

 private:
  HWY_INLINE V unclamped(V P, V m, V X) const {
    if constexpr (kPlain) return hn::MulAdd(m, X, P);
    if (decaying_) return hn::MulAdd(m, hn::Sub(X, P), P);
    const V zero = hn::Zero(D());
    const V one = hn::Set(D(), T(1));
    const V d = hn::Mul(m, X);
    const V down = hn::MulAdd(hn::Min(d, zero), hn::Add(P, one), P);
    return hn::MulAdd(hn::Max(d, zero), hn::Sub(one, P), down);
  }

  const bool decaying_;
  const V bound_, rate_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
