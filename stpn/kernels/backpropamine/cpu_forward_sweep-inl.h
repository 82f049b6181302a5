// What Backpropamine's forward pass does at the synapses of a row: the update of P and E, the sums
// over the row, and the energy; and the update again, for backward. Compiled once for each SIMD
// target.
//
// Pointers to rows or to neuron values are to those of the first row at hand. Members that only a
// trace needs are null without one.

#if defined(STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_SWEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_SWEEP_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_SWEEP_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_CPU_FORWARD_SWEEP_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/backpropamine/cpu_update-inl.h"
#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cpu/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors updated at a time. With a trace, or where each has samples of its own and so a z and m of
// its own, more do not fit into the registers.
template <class Layout, bool kTrace>
inline constexpr int kUpdatedVectors = kTrace || Layout::kRows == 1 ? 2 : kTileRows;

// The update of step t - 1 (kUpdate), then the sums (w + alpha P) z of step t (kPreactivation).
template <class Layout, Addition kAddition, bool kTrace, bool kUpdate, bool kPreactivation>
struct ModulatedForwardSweep {
  using T = typename Layout::Value;
  using V = typename Layout::V;
  using Tile = HWY_NAMESPACE::Tile<Layout, kUpdatedVectors<Layout, kTrace>>;
  using Values = typename Tile::Values;
  struct Sums {
    V Gz[Layout::kTileVectors];
  };

  class Row {
   public:
    HWY_INLINE Row(const ModulatedForwardSweep& pass, const Tile& tile, int64_t)
        : tile_(tile),
          update_(pass.call),
          W_(pass.W),
          alpha_(pass.alpha),
          P_(pass.P),
          E_(pass.E),
          z_(pass.z),
          z_before_(pass.z_before),
          h(tile.neurons(pass.h)),
          m(tile.samples(pass.m)),
          Gz(Tile::zero()) {}

    HWY_INLINE void at(int64_t j) {
      Values P = tile_.synapses(P_, j);
      if constexpr (kUpdate) {
        const Values hebbian = h * tile_.presynaptic(z_before_, j);
        Values X = hebbian;
        if constexpr (kTrace) {
          X = tile_.synapses(E_, j);
          tile_.store_synapses(update_.trace(X, hebbian), E_, j);
        }
        P = update_.updated(P, m, X);
        tile_.store_synapses(P, P_, j);
      }
      if constexpr (kPreactivation) {
        const Values W = Tile::all(tile_.parameters(W_, j));
        const Values G = fma(Tile::all(tile_.parameters(alpha_, j)), P, W);
        Gz = fma(G, tile_.presynaptic(z_, j), Gz);
      }
    }

    HWY_INLINE void end(Sums& sums) const { tile_.put(Gz, sums.Gz); }

   private:
    const Tile tile_;
    const SynapseUpdate<Tile, kAddition> update_;
    const T* const HWY_RESTRICT W_;
    const T* const HWY_RESTRICT alpha_;
    T* const HWY_RESTRICT P_;
    T* const HWY_RESTRICT E_;
    const T* const HWY_RESTRICT z_;
    const T* const HWY_RESTRICT z_before_;
    const Values h, m;
    Values Gz;
  };

  HWY_INLINE void store(const Sums& sums, int64_t) const {
    if constexpr (kPreactivation) Layout::store_sums(sums.Gz, Gz);
  }

  const BackpropamineForwardParams<T>& call;
  const T *W, *alpha;
  T *P, *E;
  const T* z;                 // z[t]
  const T *z_before, *h, *m;  // of step t - 1
  T* Gz;                      // out: neuron values
};

// P and E of step t + 1 from those of step t, with the h and m that forward saved.
template <class Layout, Addition kAddition, bool kTrace>
struct ModulatedRecompute {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  using Tile = HWY_NAMESPACE::Tile<Layout, kUpdatedVectors<Layout, kTrace>>;
  using Values = typename Tile::Values;
  struct Sums {};

  class Row {
   public:
    HWY_INLINE Row(const ModulatedRecompute& pass, const Tile& tile, int64_t)
        : tile_(tile),
          update_(pass.call),
          z_(pass.z),
          P_(pass.P),
          E_(pass.E),
          new_P_(pass.new_P),
          new_E_(pass.new_E),
          bound_(hn::Set(D(), pass.bound)),
          new_bound_(hn::Set(D(), pass.new_bound)),
          h(tile.neurons(pass.h)),
          m(tile.samples(pass.m)) {}

    HWY_INLINE void at(int64_t j) {
      const Values hebbian = h * tile_.presynaptic(z_, j);
      Values X = hebbian;
      if constexpr (kTrace) {
        X = tile_.synapses(E_, j);
        tile_.store_synapses(update_.trace(X, hebbian), new_E_, j);
      }
      const Values P = clamped(tile_.synapses(P_, j), bound_);
      tile_.store_synapses(update_.recomputed(P, m, X, new_bound_), new_P_, j);
    }

    HWY_INLINE void end(Sums&) const {}

   private:
    const Tile tile_;
    const SynapseUpdate<Tile, kAddition> update_;
    const T* const HWY_RESTRICT z_;
    const T* const HWY_RESTRICT P_;
    const T* const HWY_RESTRICT E_;
    T* const HWY_RESTRICT new_P_;
    T* const HWY_RESTRICT new_E_;
    const V bound_, new_bound_;
    const Values h, m;
  };

  HWY_INLINE void store(const Sums&, int64_t) const {}

  const BackpropamineForwardParams<T>& call;
  const T *z, *h, *m;  // of step t
  const T *P, *E;
  T *new_P, *new_E;
  T bound, new_bound;  // what P is clamped to before and after the update
};

// The energy of each neuron: sum over j of |w + alpha P| z^2.
template <class Layout>
struct ModulatedEnergySweep {
  using T = typename Layout::Value;
  using V = typename Layout::V;
  using Tile = HWY_NAMESPACE::Tile<Layout, kTileRows>;
  using Values = typename Tile::Values;
  struct Sums {
    V energy[Layout::kTileVectors];
  };

  class Row {
   public:
    HWY_INLINE Row(const ModulatedEnergySweep& pass, const Tile& tile, int64_t)
        : tile_(tile),
          W_(pass.W),
          alpha_(pass.alpha),
          P_(pass.P),
          z_(pass.z),
          energy(Tile::zero()) {}

    HWY_INLINE void at(int64_t j) {
      const Values z = tile_.presynaptic(z_, j);
      const Values alpha = Tile::all(tile_.parameters(alpha_, j));
      const Values G = fma(alpha, tile_.synapses(P_, j), Tile::all(tile_.parameters(W_, j)));
      energy = fma(abs(G), z * z, energy);
    }

    HWY_INLINE void end(Sums& sums) const { tile_.put(energy, sums.energy); }

   private:
    const Tile tile_;
    const T* const HWY_RESTRICT W_;
    const T* const HWY_RESTRICT alpha_;
    const T* const HWY_RESTRICT P_;
    const T* const HWY_RESTRICT z_;
    Values energy;
  };

  HWY_INLINE void store(const Sums& sums, int64_t) const {
    Layout::store_sums(sums.energy, energy);
  }

  const T *W, *alpha, *P, *z;
  T* energy;  // out: neuron values
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
