// What the STPN's forward pass does at the synapses of a row: the update of the fast weights, the
// sums over the row, and the energy; and the update again, for backward. Compiled once for each
// SIMD target.
//
// With `scale` 1/n (norm `pre`), 1/m (norm `post`, see cpu_forward-inl.h) or 1:
//   F[t] = clamp(Lambda F[t-1] scale + Gamma h[t] z[t])

#if defined(STPN_KERNELS_STPN_CPU_FORWARD_SWEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_FORWARD_SWEEP_INL_H_
#undef STPN_KERNELS_STPN_CPU_FORWARD_SWEEP_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_FORWARD_SWEEP_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/pack-inl.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <Norm kNorm>
inline constexpr bool kIsScaled = kNorm == Norm::pre || kNorm == Norm::post;

// The update of step t - 1 (kUpdate), then the sums over the row that step t needs (kSum). Pointers
// are to what belongs to the first row of the sweep.
template <class Layout, Norm kNorm, bool kClamp, bool kUpdate, bool kSum>
struct StpnForwardSweep {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kScaled = kIsScaled<kNorm>;
  // Norm `post` has twice as many sums, so half as many vectors fit into the registers.
  using Tile = HWY_NAMESPACE::Tile<Layout, kPost ? 2 : kTileRows>;
  using Values = typename Tile::Values;

  struct Sums {
    V Gz[Layout::kTileVectors], squares[Layout::kTileVectors];
    V Wz[Layout::kTileVectors], WC[Layout::kTileVectors];
  };

  class Row {
   public:
    HWY_INLINE Row(const StpnForwardSweep& pass, const Tile& tile, int64_t i)
        : tile_(tile),
          W_(pass.W + i * pass.parameter_row),
          lambda_(pass.lambda + i * pass.parameter_row),
          gamma_(pass.gamma + i * pass.parameter_row),
          F_(pass.F + i * pass.matrix_row),
          z_(pass.z),
          hebbian_(pass.hebbian),
          bound_(hn::Set(D(), pass.bound)),
          h(tile.neurons(pass.h + i * S)),
          scale(tile.neurons(pass.scale + i * S)) {
      Gz = squares = Wz = WC = Tile::zero();
    }

    HWY_INLINE void at(int64_t j) {
      const Values W = Tile::all(tile_.parameters(W_, j));
      Values F = tile_.synapses(F_, j);
      if constexpr (kUpdate) {
        F = Tile::all(tile_.parameters(lambda_, j)) * F;
        const Values growth =
            Tile::all(tile_.parameters(gamma_, j)) * tile_.presynaptic(hebbian_, j);
        if constexpr (kScaled) F = F * scale;
        F = fma(growth, h, F);
        if constexpr (kClamp) F = clamped(F, bound_);
        tile_.store_synapses(F, F_, j);
      }
      if constexpr (kPost) {
        squares = fma(F, F, squares);
        WC = fma(W, F, WC);
      }
      if constexpr (kSum) {
        const Values z = tile_.presynaptic(z_, j);
        if constexpr (kPost) {
          Gz = fma(F, z, Gz);
          Wz = fma(W, z, Wz);
        } else {
          const Values G = W + F;
          Gz = fma(G, z, Gz);
          if constexpr (kNormed) squares = fma(G, G, squares);
        }
      }
    }

    HWY_INLINE void end(Sums& sums) const {
      tile_.put(Gz, sums.Gz);
      tile_.put(squares, sums.squares);
      tile_.put(Wz, sums.Wz);
      tile_.put(WC, sums.WC);
    }

   private:
    const Tile tile_;
    const T* const HWY_RESTRICT W_;
    const T* const HWY_RESTRICT lambda_;
    const T* const HWY_RESTRICT gamma_;
    T* const HWY_RESTRICT F_;
    const T* const HWY_RESTRICT z_;
    const T* const HWY_RESTRICT hebbian_;
    const V bound_;
    const Values h, scale;
    Values Gz, squares, Wz, WC;
  };

  HWY_INLINE void store(const Sums& sums, int64_t i) const {
    if constexpr (kSum) Layout::store_sums(sums.Gz, Gz + i * S);
    if constexpr (kPost || (kSum && kNormed)) Layout::store_sums(sums.squares, squares + i * S);
    if constexpr (kPost) Layout::store_sums(sums.WC, WC + i * S);
    if constexpr (kPost && kSum) Layout::store_sums(sums.Wz, Wz + i * S);
  }

  const T *W, *lambda, *gamma;
  int64_t parameter_row, matrix_row;  // from a row to the next
  T* F;
  T bound;
  const T* z;  // z[t]
  // Of step t - 1: its presynaptic term; h or, with a write gate or rule `delta`, what stands for
  // it; scale.
  const T *hebbian, *h, *scale;
  T *Gz, *squares, *Wz, *WC;  // out: neuron values of the sums, as StpnForward has them
};

// F of step t + 1 from that of step t, with the h and the scale that forward saved.
template <class Layout, Norm kNorm, bool kClamp>
struct StpnRecompute {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kIsScaled<kNorm>;
  using Tile = HWY_NAMESPACE::Tile<Layout, kTileRows>;
  using Values = typename Tile::Values;
  struct Sums {};

  class Row {
   public:
    HWY_INLINE Row(const StpnRecompute& pass, const Tile& tile, int64_t)
        : tile_(tile),
          lambda_(pass.lambda),
          gamma_(pass.gamma),
          hebbian_(pass.hebbian),
          before_(pass.before),
          after_(pass.after),
          before_bound_(hn::Set(D(), pass.before_bound)),
          after_bound_(hn::Set(D(), pass.after_bound)),
          h(tile.neurons(pass.h)) {
      if constexpr (kScaled) scale = tile.neurons(pass.scale);
    }

    HWY_INLINE void at(int64_t j) {
      Values F = tile_.synapses(before_, j);
      // Norm `post` divides C before it decays, so that none stays at the bound.
      if constexpr (kClamp && !kPost) F = clamped(F, before_bound_);
      F = Tile::all(tile_.parameters(lambda_, j)) * F;
      if constexpr (kScaled) F = F * scale;
      const Values growth = Tile::all(tile_.parameters(gamma_, j)) * tile_.presynaptic(hebbian_, j);
      F = fma(growth, h, F);
      if constexpr (kClamp) F = clamped(F, after_bound_);
      tile_.store_synapses(F, after_, j);
    }

    HWY_INLINE void end(Sums&) const {}

   private:
    const Tile tile_;
    const T* const HWY_RESTRICT lambda_;
    const T* const HWY_RESTRICT gamma_;
    const T* const HWY_RESTRICT hebbian_;
    const T* const HWY_RESTRICT before_;
    T* const HWY_RESTRICT after_;
    const V before_bound_, after_bound_;
    const Values h;
    Values scale;
  };

  HWY_INLINE void store(const Sums&, int64_t) const {}

  const T *lambda, *gamma;  // as all pointers: of the rows at hand
  const T *hebbian, *h, *scale;
  const T* before;
  T* after;
  T before_bound, after_bound;  // what F is clamped to before and after the update
};

// The energy of each neuron but for its norm: sum over j of |G| z^2. Backward of norm `post` also
// needs the sum of sign(G) C z^2 (kOfC).
template <class Layout, Norm kNorm, bool kOfC = false>
struct StpnEnergySweep {
  using T = typename Layout::Value;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;
  static constexpr bool kPost = kNorm == Norm::post;
  using Tile = HWY_NAMESPACE::Tile<Layout, kOfC ? 2 : kTileRows>;
  using Values = typename Tile::Values;
  struct Sums {
    V energy[Layout::kTileVectors], of_C[Layout::kTileVectors];
  };

  class Row {
   public:
    HWY_INLINE Row(const StpnEnergySweep& pass, const Tile& tile, int64_t i)
        : tile_(tile),
          W_(pass.W + i * pass.parameter_row),
          F_(pass.F + i * pass.matrix_row),
          z_squared_(pass.z_squared),
          scale(tile.neurons(pass.scale + i * S)),
          energy(Tile::zero()),
          of_C(Tile::zero()) {}

    HWY_INLINE void at(int64_t j) {
      const Values C = tile_.synapses(F_, j);
      Values F = C;
      if constexpr (kPost) F = F * scale;
      const Values G = Tile::all(tile_.parameters(W_, j)) + F;
      const Values z_squared = tile_.presynaptic(z_squared_, j);
      energy = fma(abs(G), z_squared, energy);
      if constexpr (kOfC) of_C = fma(sign(G) * C, z_squared, of_C);
    }

    HWY_INLINE void end(Sums& sums) const {
      tile_.put(energy, sums.energy);
      if constexpr (kOfC) tile_.put(of_C, sums.of_C);
    }

   private:
    const Tile tile_;
    const T* const HWY_RESTRICT W_;
    const T* const HWY_RESTRICT F_;
    const T* const HWY_RESTRICT z_squared_;
    const Values scale;
    Values energy, of_C;
  };

  HWY_INLINE void store(const Sums& sums, int64_t i) const {
    Layout::store_sums(sums.energy, energy + i * S);
    if constexpr (kOfC) Layout::store_sums(sums.of_C, of_C + i * S);
  }

  const T* W;
  const T* F;
  int64_t parameter_row, matrix_row;  // from a row to the next
  const T* z_squared;                 // z^2 of the presynaptic inputs that count, else 0
  const T* scale;
  T* energy;          // out: neuron values
  T* of_C = nullptr;  // likewise
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
