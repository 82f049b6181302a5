// The update of a synapse's P and E in one time step, and its derivatives: what the forward and the
// backward pass of Backpropamine share. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_UPDATE_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cpu/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Whether P and m leave the gradient of P as it is: that of P + delta.
template <Addition kAddition>
inline constexpr bool kIsPlain = kAddition == Addition::clamp;

// With X the term that the modulator m multiplies (D, or E[t-1] with a trace) and delta = m X, the
// new P is the old P and delta combined by the variant's addition, then clamped. dX is the gradient
// of the loss with respect to X; likewise dP, dE, dm, d_delta.
//
// kAddition: the variant's; `clamp` also stands for `additive`, which has an infinite bound. It is
// not chosen at run time: with a branch at each vector the compiler would fuse `h z - P` for some
// vectors of a tile and not for others, and equal samples would get unequal results.
template <class Tile, Addition kAddition>
class SynapseUpdate {
  using T = typename Tile::T;
  using D = typename Tile::D;
  using V = typename Tile::V;
  using Values = typename Tile::Values;

 public:
  explicit HWY_INLINE SynapseUpdate(const BackpropamineForwardParams<T>& call)
      : bound_(hn::Set(D(), static_cast<T>(call.variant.bound()))),
        rate_(Tile::constant(call.rate == nullptr ? T(0) : call.rate[0])) {}

  // The new P.
  HWY_INLINE Values updated(const Values& P, const Values& m, const Values& X) const {
    return clamped(unclamped(P, m, X), bound_);
  }
  // The new P as recomputed for backward: values that the clamp changes become `just_outside`, the
  // next number beyond the bound, so that they can be distinguished from values that reached the
  // bound exactly, whose gradient passes.
  HWY_INLINE Values recomputed(const Values& P, const Values& m, const Values& X,
                               V just_outside) const {
    return clamped(unclamped(P, m, X), just_outside);
  }
  // The new E, from the old one and D.
  HWY_INLINE Values trace(const Values& E, const Values& hebbian) const {
    return fma(rate_, hebbian - E, E);
  }

  // Returns the gradient of the new P before its clamp, given dP of the clamped value. `new_P` is
  // the result of recomputed().
  HWY_INLINE Values backpropagate_clamp(const Values& new_P, const Values& dP) const {
    return through_clamp(new_P, bound_, dP);
  }
  // Backpropagates through the addition: returns d_delta and turns dP, on entry the gradient of the
  // new P before its clamp, into that of the old P. Adds to dm the part that does not pass through
  // delta. P, m and X are not read if kIsPlain<kAddition>.
  HWY_INLINE Values backpropagate_addition(const Values& P, const Values& m, const Values& X,
                                           Values& dP, Values& dm) const {
    if constexpr (kIsPlain<kAddition>) return dP;
    const Values dP_new = dP;
    if constexpr (kAddition == Addition::decaying) {
      dm = minus_product(dm, dP_new, P);
      dP = minus_product(dP_new, dP_new, m);
      return dP_new;
    }
    const Values zero = Tile::zero();
    const Values one = Tile::constant(1);
    const Values delta = m * X;
    dP = minus_product(dP_new, dP_new, abs(delta));
    const Values up = if_not_negative(D(), delta, one - P);
    const Values down = if_not_negative(D(), zero - delta, one + P);
    return dP_new * (up + down);
  }
  // Backpropagates through the trace: returns the gradient of D, turns dE of the new E into that of
  // the old E, and adds to grad_rate.
  HWY_INLINE Values backpropagate_trace(const Values& E, const Values& hebbian, Values& dE,
                                        Values& grad_rate) const {
    grad_rate = fma(dE, hebbian - E, grad_rate);
    const Values d_hebbian = dE * rate_;
    dE = dE - d_hebbian;
    return d_hebbian;
  }

 private:
  HWY_INLINE Values unclamped(const Values& P, const Values& m, const Values& X) const {
    if constexpr (kIsPlain<kAddition>) return fma(m, X, P);
    if constexpr (kAddition == Addition::decaying) return fma(m, X - P, P);
    const Values zero = Tile::zero();
    const Values one = Tile::constant(1);
    const Values delta = m * X;
    return fma(at_least(zero, delta), one - P, fma(at_most(zero, delta), P + one, P));
  }

  const V bound_;
  const Values rate_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
