// The backward pass through the STPN's energy, E_i = sum over j of measured_j |G_ij| z_j^2 / n_i.
// It takes sweeps of its own, as it is seldom asked for. Compiled once for each SIMD target.
//
// With e the gradient of E, c = e / n and s = measured z^2, dX being the gradient of X:
//   dG_ij += c_i sign(G_ij) s_j;   dz_j += 2 measured_j z_j sum over i of c_i |G_ij|
//   dn_i -= c_i (sum over j of |G_ij| s_j) / n_i
// Norm `post`, G = W + scale C: the gradient of m also needs the sum over j of sign(G_ij) C_ij s_j.

#if defined(STPN_KERNELS_STPN_ENERGY_CPU_ENERGY_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_ENERGY_CPU_ENERGY_BACKWARD_INL_H_
#undef STPN_KERNELS_STPN_ENERGY_CPU_ENERGY_BACKWARD_INL_H_
#else
#define STPN_KERNELS_STPN_ENERGY_CPU_ENERGY_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/pack-inl.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Adds to the gradients of C and W, and sums c |G| over the rows.
template <class Layout, bool kPost>
struct StpnEnergyBackwardSweep {
  using T = typename Layout::Value;
  static constexpr int S = Layout::kSamples;
  using Tile = HWY_NAMESPACE::Tile<Layout, 2>;
  using Values = typename Tile::Values;
  using RowValues = typename Tile::RowValues;
  struct Sums {};

  class Row {
   public:
    HWY_INLINE Row(const StpnEnergyBackwardSweep& pass, const Tile& tile, int64_t)
        : tile_(tile),
          W_(pass.W),
          C_(pass.C),
          z_squared_(pass.z_squared),
          dC_(pass.dC),
          dW_(pass.dW),
          over_rows(tile, pass.over_rows),
          scale(tile.neurons(pass.scale)),
          c(tile.neurons(pass.c)) {}

    HWY_INLINE void at(int64_t j) {
      over_rows.load(j);
      const Values W = Tile::all(tile_.parameters(W_, j));
      const Values C = tile_.synapses(C_, j);
      const Values z_squared = tile_.presynaptic(z_squared_, j);
      const Values G = kPost ? fma(C, scale, W) : W + C;
      const Values c_sign = c * sign(G);
      Values dG = c_sign * z_squared;
      RowValues dW = tile_.gradients(dW_, j);
      add_products(c_sign, z_squared, dW);
      tile_.store_gradients(dW, dW_, j);
      if constexpr (kPost) dG = dG * scale;
      tile_.store_synapses(tile_.synapses(dC_, j) + dG, dC_, j);
      over_rows.add_product(abs(G), c);
      over_rows.store(j);
    }

    HWY_INLINE void end(Sums&) const {}

   private:
    const Tile tile_;
    const T* const HWY_RESTRICT W_;
    const T* const HWY_RESTRICT C_;
    const T* const HWY_RESTRICT z_squared_;
    T* const HWY_RESTRICT dC_;
    T* const HWY_RESTRICT dW_;
    PresynapticGradient<Tile, Layout, true> over_rows;
    const Values scale, c;
  };

  HWY_INLINE void store(const Sums&, int64_t) const {}

  const T *W, *C, *z_squared, *scale, *c;  // as above
  T *dC, *dW;
  T* over_rows;  // presynaptic array
};

// The arrays of one time step.
template <class Layout>
class StpnEnergyBackward {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;

 public:
  explicit StpnEnergyBackward(const PlasticPlan<T>& plan)
      : layout_(plan),
        neurons_(plan.neurons(S)),
        presynaptic_(plan.presynaptic(S)),
        memory_(3 * neurons_ + 3 * presynaptic_) {
    std::fill_n(memory_.get(), 3 * neurons_ + 3 * presynaptic_, T(0));
  }

  // Neuron values: c, at first the gradient of the energy; the sums of |G| s and sign(G) C s, which
  // the gradients of the norms need (StpnEnergySweep).
  T* c() const { return memory_.get(); }
  T* of_G() const { return c() + neurons_; }
  T* of_C() const { return of_G() + neurons_; }
  // Presynaptic arrays: measured z^2; the sum over rows of c |G|.
  T* z_squared() const { return of_C() + neurons_; }
  T* over_rows() const { return measured_z() + presynaptic_; }

  // Of the presynaptic inputs z; `measured` (fan_in) or null.
  void begin(const T* HWY_RESTRICT z, const T* measured, int64_t fan_in) const {
    for (int64_t j = 0; j < fan_in; ++j) {
      for (int s = 0; s < S; ++s) {
        const int64_t at = layout_.value(s, j);
        measured_z()[at] = (measured == nullptr ? T(1) : measured[j]) * z[at];
        z_squared()[at] = measured_z()[at] * z[at];
      }
    }
    std::fill_n(over_rows(), presynaptic_, T(0));
  }
  void add_presynaptic_gradient(T* HWY_RESTRICT dz) const {
    const D d;
    for (int64_t k = 0; k < presynaptic_; k += hn::Lanes(d)) {
      const V twice = hn::Add(hn::Load(d, measured_z() + k), hn::Load(d, measured_z() + k));
      hn::Store(hn::MulAdd(twice, hn::Load(d, over_rows() + k), hn::Load(d, dz + k)), d, dz + k);
    }
  }

 private:
  T* measured_z() const { return z_squared() + presynaptic_; }

  const Layout layout_;
  const int64_t neurons_, presynaptic_;
  const ScratchArray<T> memory_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
