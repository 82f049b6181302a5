// The update of a synapse's P and E in one time step, and its derivatives: what the forward and the
// backward pass of Backpropamine share. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/backpropamine/cpu_layout.h"
#include "stpn/kernels/cpu/group_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// With X the term that the modulator m multiplies (D, or E[t-1] with a trace) and delta = m X, the
// new P is the old P and delta combined by the variant's addition, then clamped. dX is the gradient
// of the loss with respect to X; likewise dP, dE, dm, d_delta.
//
// kPlain: the addition is `clamp` or `additive`, P + delta (additive has an infinite bound). The
// class chooses between the other two additions at run time.
template <typename T, bool kPlain>
class SynapseUpdate {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;

 public:
  explicit HWY_INLINE SynapseUpdate(const BackpropamineForwardParams<T>& call)
      : decaying_(call.variant.addition == Addition::decaying),
        bound_(hn::Set(D(), static_cast<T>(call.variant.bound()))),
        rate_(hn::Set(D(), call.rate == nullptr ? T(0) : call.rate[0])) {}

  // The new P.
  HWY_INLINE V updated(V P, V m, V X) const { return clamped(unclamped(P, m, X), bound_); }
  // The new P as recomputed for backward: values that the clamp changes become `just_outside`, the
  // next number beyond the bound, so that they can be distinguished from values that reached the
  // bound exactly, whose gradient passes.
  HWY_INLINE V recomputed(V P, V m, V X, V just_outside) const {
    return clamped(unclamped(P, m, X), just_outside);
  }
  // P clamped to +-bound.
  static HWY_INLINE V clamped(V P, V bound) { return hn::Min(hn::Max(P, hn::Neg(bound)), bound); }
  // The new E, from the old one and D.
  HWY_INLINE V trace(V E, V hebbian) const { return hn::MulAdd(rate_, hn::Sub(hebbian, E), E); }

  // Returns the gradient of the new P before its clamp, given dP of the clamped value. `new_P` is
  // the result of recomputed().
  HWY_INLINE V backpropagate_clamp(V new_P, V dP) const {
    return hn::IfThenElseZero(hn::Le(hn::Abs(new_P), bound_), dP);
  }
  // Backpropagates through the addition: returns d_delta and turns dP, on entry the gradient of the
  // new P before its clamp, into that of the old P. Adds to dm the part that does not pass through
  // delta. If kPlain, P, m and X are not read.
  HWY_INLINE V backpropagate_addition(V P, V m, V X, V& dP, V& dm) const {
    if constexpr (kPlain) return dP;
    const V dP_new = dP;
    if (decaying_) {
      dm = hn::NegMulAdd(dP_new, P, dm);
      dP = hn::NegMulAdd(dP_new, m, dP_new);
      return dP_new;
    }
    const V zero = hn::Zero(D());
    const V one = hn::Set(D(), T(1));
    const V delta = hn::Mul(m, X);
    dP = hn::NegMulAdd(dP_new, hn::Abs(delta), dP_new);
    const V up = hn::IfThenElseZero(hn::Ge(delta, zero), hn::Sub(one, P));
    const V down = hn::IfThenElseZero(hn::Le(delta, zero), hn::Add(one, P));
    return hn::Mul(dP_new, hn::Add(up, down));
  }
  // Backpropagates through the trace: returns the gradient of D, turns dE of the new E into that of
  // the old E, and adds to grad_rate.
  HWY_INLINE V backpropagate_trace(V E, V hebbian, V& dE, V& grad_rate) const {
    grad_rate = hn::MulAdd(dE, hn::Sub(hebbian, E), grad_rate);
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
    const V delta = hn::Mul(m, X);
    const V down = hn::MulAdd(hn::Min(delta, zero), hn::Add(P, one), P);
    return hn::MulAdd(hn::Max(delta, zero), hn::Sub(one, P), down);
  }

  const bool decaying_;
  const V bound_, rate_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
