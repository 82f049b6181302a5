// The first half of a step back of the STPN, from the gradient of its new F on. Compiled once a target.

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

// What a block of rows has at some sources: parameters, and the sums of their gradients.
template <class Block>
struct SynapseRows {
  typename Block::V weight[Block::kRows], lambda[Block::kRows], gamma[Block::kRows];
  typename Block::V d_weight[Block::kRows], d_lambda[Block::kRows], d_gamma[Block::kRows];
};

// A block of rows on its way into step t: what is fixed along them, and the sums over them.
template <class Layout, class Block, Norm kNorm>
struct StpnInto {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int kLanes = Block::kLanes;
  static constexpr bool kScaled = kNorm == Norm::pre || kNorm == Norm::post;

  HWY_INLINE StpnInto(const Layout& its_layout, const Block& its_block)
      : layout(its_layout), block(its_block) {
    STPN_UNROLL
    for (int p = 0; p < kLanes; ++p) along_h[p] = along_norm[p] = hn::Zero(D());
  }

  // Values of the rows' units: h, and the scale of F before the update; F before the update, and the
  // presynaptic term.
  HWY_INLINE void begin(const T* its_h, const T* its_scale, const T* its_before,
                        const T* its_hebbian) {
    before = its_before;
    hebbian = its_hebbian;
    STPN_UNROLL
    for (int p = 0; p < kLanes; ++p) {
      h[p] = Layout::unit(its_h, block.lane(p));
      if constexpr (kScaled) scale[p] = Layout::unit(its_scale, block.lane(p));
    }
  }

  // From the gradient of the new F before its clamp: adds to all that the update touches.
  template <class Rows, class PresynapticGradient>
  HWY_INLINE void step(int64_t j, const V (&d_new)[kLanes], Rows& rows,
                       PresynapticGradient& of_hebbian) {
    const D d;
    V learnt[kLanes], decayed[kLanes];
    STPN_UNROLL
    for (int p = 0; p < kLanes; ++p) {
      const V F = hn::Load(d, before + layout.synapse(block.lane(p), j));
      learnt[p] = hn::Mul(d_new[p], hn::Load(d, hebbian + layout.source(block.vector(p), j)));
      decayed[p] = kScaled ? hn::Mul(d_new[p], F) : F;
    }
    STPN_UNROLL
    for (int p = 0; p < kLanes; ++p) {
      const int r = p / Block::kVectors;
      along_h[p] = hn::MulAdd(learnt[p], rows.gamma[r], along_h[p]);
      if constexpr (kScaled) along_norm[p] = hn::MulAdd(decayed[p], rows.lambda[r], along_norm[p]);
      rows.d_gamma[r] = hn::MulAdd(learnt[p], h[p], rows.d_gamma[r]);
      rows.d_lambda[r] = hn::MulAdd(decayed[p], kScaled ? scale[p] : d_new[p], rows.d_lambda[r]);
    }
    if (!of_hebbian.wanted) return;
    STPN_UNROLL
    for (int p = 0; p < kLanes; ++p) {
      of_hebbian.add(p, hn::Mul(d_new[p], rows.gamma[p / Block::kVectors]), h[p]);
    }
  }

  const Layout layout;
  const Block block;
  V h[kLanes], scale[kLanes];
  V along_h[kLanes], along_norm[kLanes];
  const T* HWY_RESTRICT before;
  const T* HWY_RESTRICT hebbian;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
