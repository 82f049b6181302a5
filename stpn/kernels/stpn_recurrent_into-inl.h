// The first half of a step back of the STPN, from the gradient of its new F on: what two passes of
// stpn_recurrent_backward-inl.h share. Compiled once a target.

#if defined(STPN_KERNELS_STPN_RECURRENT_INTO_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RECURRENT_INTO_INL_H_
#undef STPN_KERNELS_STPN_RECURRENT_INTO_INL_H_
#else
#define STPN_KERNELS_STPN_RECURRENT_INTO_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/plastic_layout-inl.h"
#include "stpn/kernels/stpn_recurrent.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One bit a synapse, a byte or more a vector: whether the clamp left the new F as it was.
template <typename T>
HWY_INLINE int64_t inside_stride() {
  return (hn::Lanes(hn::ScalableTag<T>()) + 7) / 8;
}

// Rows on their way into step t: what is fixed along them, and the sums over them.
template <class Layout, Norm kNorm, bool kClamp>
struct StpnInto {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int kLanes = Layout::kLanes;

  explicit HWY_INLINE StpnInto(const Layout& its_layout) : layout(its_layout) {
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) along_h[q] = along_norm[q] = hn::Zero(D());
  }

  // From the gradient of the clamped new F to that of the unclamped one, which is returned; adds to
  // all that it touches.
  HWY_INLINE V step(int q, int64_t j, V d_new, V l, V g, V& d_lambda, V& d_gamma, V& d_hebbian) {
    const D d;
    if constexpr (kClamp) {
      const int64_t vector = layout.synapse(q, j) / hn::Lanes(d);
      d_new = hn::IfThenElseZero(hn::LoadMaskBits(d, inside + vector * inside_stride<T>()), d_new);
    }
    const V z = hn::Load(d, hebbian + layout.source(q % Layout::kVectors, j));
    const V learnt = hn::Mul(d_new, g);
    along_h[q] = hn::MulAdd(learnt, z, along_h[q]);
    if (j >= first_dz) d_hebbian = hn::MulAdd(learnt, h[q], d_hebbian);
    d_gamma = hn::MulAdd(hn::Mul(d_new, h[q]), z, d_gamma);
    V decayed = hn::Mul(d_new, hn::Load(d, before + layout.synapse(q, j)));
    if constexpr (kNorm == Norm::pre) {
      decayed = hn::Mul(decayed, inverse[q]);
      along_norm[q] = hn::MulAdd(decayed, l, along_norm[q]);
    }
    d_lambda = hn::Add(d_lambda, decayed);
    return d_new;
  }

  const Layout layout;
  V h[kLanes], inverse[kLanes];
  V along_h[kLanes], along_norm[kLanes];
  const T* HWY_RESTRICT before;  // F before the update
  const uint8_t* HWY_RESTRICT inside;
  const T* HWY_RESTRICT hebbian;
  int64_t first_dz;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
