// What Backpropamine's backward pass does at the synapses of a row. Compiled once for each SIMD
// target. Names as in cpu_backward-inl.h.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_SWEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_SWEEP_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_SWEEP_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_BACKWARD_SWEEP_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/backpropamine/cpu_update-inl.h"
#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cpu/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Backpropagates through the pre-activation of step t (kPreactivation), then through the update of
// step t - 1 (kUpdate). Pointers are to the values of the first row of the sweep.
template <class Layout, Addition kAddition, bool kTrace, bool kPreactivation, bool kUpdate>
struct ModulatedBackwardSweep {
  using T = typename Layout::Value;
  using V = typename Layout::V;
  // What stays the same along a row fills the registers, so at each j the tile is worked through
  // one vector after the other.
  using Tile = HWY_NAMESPACE::Tile<Layout, Layout::kTileVectors>;
  using One = HWY_NAMESPACE::Tile<Layout, 1>;
  using Values = typename One::Values;
  using RowValues = typename Tile::RowValues;
  static constexpr int kVectors = Tile::kTileVectors;

  struct Sums {
    V dh[Layout::kTileVectors], dm[Layout::kTileVectors], grad_rate[Layout::kTileVectors];
  };

  class Row {
   public:
    HWY_INLINE Row(const ModulatedBackwardSweep& pass, const Tile& tile, int64_t)
        : tile_(tile),
          update_(pass.call),
          W_(pass.W),
          alpha_(pass.alpha),
          grad_alpha_(pass.grad_alpha),
          P_(pass.P),
          z_(pass.z),
          P_before_(pass.P_before),
          E_before_(pass.E_before),
          z_before_(pass.z_before),
          dP_(pass.dP),
          dE_(pass.dE),
          dz(tile, pass.dz),
          dz_of_update(tile, pass.dz_of_update) {
      STPN_UNROLL
      for (int q = 0; q < kVectors; ++q) {
        const One one(tile.layout(), q);
        if constexpr (kPreactivation) du[q] = one.neurons(pass.du);
        dh[q] = dm[q] = grad_rate[q] = One::zero();
        if constexpr (!kUpdate) continue;
        h[q] = one.neurons(pass.h);
        m[q] = one.samples(pass.m);
      }
    }

    HWY_INLINE void at(int64_t j) {
      dz.load(j);
      dz_of_update.load(j);
      const RowValues W = tile_.parameters(W_, j);
      const RowValues alpha = tile_.parameters(alpha_, j);
      RowValues grad_alpha = Tile::no_gradients();
      STPN_UNROLL
      for (int q = 0; q < kVectors; ++q) {
        const One one(tile_.layout(), q);
        const int r = one.row(0);
        const Values P = one.synapses(P_, j);
        Values dP = one.synapses(dP_, j);
        if constexpr (kPreactivation) {
          dP = through_preactivation(one, q, j, {W.v[r]}, {alpha.v[r]}, P, dP, grad_alpha.v[r]);
        }
        if constexpr (kUpdate) dP = through_update(one, q, j, update_.backpropagate_clamp(P, dP));
        one.store_synapses(dP, dP_, j);
      }
      if constexpr (kPreactivation) {
        tile_.store_gradients(tile_.gradients(grad_alpha_, j) + grad_alpha, grad_alpha_, j);
      }
      dz.store(j);
      dz_of_update.store(j);
    }

    HWY_INLINE void end(Sums& sums) const {
      STPN_UNROLL
      for (int q = 0; q < kVectors; ++q) {
        const One one(tile_.layout(), q);
        one.put(dh[q], sums.dh);
        one.put(dm[q], sums.dm);
        one.put(grad_rate[q], sums.grad_rate);
      }
    }

   private:
    // Vector q, from u = G z + ..., with G = w + alpha P: adds to the gradients of alpha, z and P.
    HWY_INLINE Values through_preactivation(const One& one, int q, int64_t j, const Values& W,
                                            const Values& alpha, const Values& P, const Values& dP,
                                            V& grad_alpha) {
      const Values dG = one.presynaptic(z_, j) * du[q];
      grad_alpha = hn::MulAdd(dG.v[0], P.v[0], grad_alpha);
      dz.add_product(one.vector(0), fma(alpha, P, W), du[q]);
      return fma(dG, alpha, dP);
    }

    // Vector q, from the gradient dP of the new P before its clamp, and that of the new E, to those
    // of P and E before the update, of D = h outer z, of m and of the rate.
    HWY_INLINE Values through_update(const One& one, int q, int64_t j, Values dP) {
      const Values z = one.presynaptic(z_before_, j);
      const Values hebbian = h[q] * z;
      const Values P = kIsPlain<kAddition> ? One::zero() : one.synapses(P_before_, j);
      if constexpr (kTrace) {
        const Values E = one.synapses(E_before_, j);
        Values dE = one.synapses(dE_, j);
        const Values d_delta = update_.backpropagate_addition(P, m[q], E, dP, dm[q]);
        dm[q] = fma(d_delta, E, dm[q]);
        const Values d_hebbian = update_.backpropagate_trace(E, hebbian, dE, grad_rate[q]);
        one.store_synapses(fma(d_delta, m[q], dE), dE_, j);
        dh[q] = fma(d_hebbian, z, dh[q]);
        dz_of_update.add_product(one.vector(0), d_hebbian, h[q]);
      } else {
        const Values d_delta = update_.backpropagate_addition(P, m[q], hebbian, dP, dm[q]);
        dh[q] = fma(d_delta, z, dh[q]);
        dz_of_update.add_product(one.vector(0), d_delta * m[q], h[q]);
      }
      return dP;
    }

    const Tile tile_;
    const SynapseUpdate<One, kAddition> update_;
    const T* const HWY_RESTRICT W_;
    const T* const HWY_RESTRICT alpha_;
    T* const HWY_RESTRICT grad_alpha_;
    const T* const HWY_RESTRICT P_;
    const T* const HWY_RESTRICT z_;
    const T* const HWY_RESTRICT P_before_;
    const T* const HWY_RESTRICT E_before_;
    const T* const HWY_RESTRICT z_before_;
    T* const HWY_RESTRICT dP_;
    T* const HWY_RESTRICT dE_;
    PresynapticGradient<Tile, Layout, kPreactivation> dz;
    PresynapticGradient<Tile, Layout, kUpdate> dz_of_update;
    Values du[kVectors], h[kVectors], m[kVectors];
    Values dh[kVectors], dm[kVectors], grad_rate[kVectors];
  };

  HWY_INLINE void store(const Sums& sums, int64_t) const {
    if constexpr (kUpdate) Layout::store_sums(sums.dh, dh);
    if constexpr (kUpdate && (kTrace || !kIsPlain<kAddition>)) Layout::store_sums(sums.dm, dm);
    if constexpr (kUpdate && kTrace) Layout::store_sums(sums.grad_rate, grad_rate);
  }

  const BackpropamineForwardParams<T>& call;
  const T *W, *alpha;
  T* grad_alpha;                 // sums of gradients
  const T *P, *z, *du;           // of step t; P is what it finds
  const T *P_before, *E_before;  // what the update of step t - 1 finds
  const T *z_before, *h, *m;     // of step t - 1
  T *dP, *dE, *dz, *dz_of_update;
  // Out: neuron values. Sums over the row of d_hebbian_ij z_j (without a trace d_delta_ij z_j), and
  // of the synapses' parts of dm and of the gradient of the rate.
  T *dh, *dm, *grad_rate;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
