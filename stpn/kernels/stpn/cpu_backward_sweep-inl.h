// What the STPN's backward pass does at the synapses of a row. Compiled once for each SIMD target.
//
// Here dF is the gradient of the matrix at the start of step t: F or, with norm `post`, C (see
// cpu_backward-inl.h, which also says what the coefficients below are).

#if defined(STPN_KERNELS_STPN_CPU_BACKWARD_SWEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_BACKWARD_SWEEP_INL_H_
#undef STPN_KERNELS_STPN_CPU_BACKWARD_SWEEP_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_BACKWARD_SWEEP_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>

#include "stpn/kernels/cpu/pack-inl.h"
#include "stpn/kernels/stpn/cpu_forward_sweep-inl.h"
#include "stpn/kernels/stpn/cpu_side_by_side-inl.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The gradient of a norm of zero is taken as zero: that of a norm whose inverse is at least this.
inline constexpr double kNoNorm = 0.5 / kNormEpsilon;
template <class D, class V = hn::Vec<D>>
HWY_INLINE V zero_if_no_norm(D d, V inverse, V gradient) {
  return hn::IfThenZeroElse(hn::Ge(inverse, hn::Set(d, static_cast<hn::TFromD<D>>(kNoNorm))),
                            gradient);
}

// From the gradient of the rows F = C / m, m = |W + C|, of a neuron to that of C, in place; adds to
// that of W.
template <class Layout, typename T>
void backpropagate_division(const Layout& layout, const T* W, int64_t fan_in, const T* C, T* dF,
                            T* dW) {
  for (int s = 0; s < Layout::kSamples; ++s) {
    T squares = 0, dF_dot_C = 0;
    for (int64_t j = 0; j < fan_in; ++j) {
      const int64_t at = layout.value(s, j);
      squares += (W[j] + C[at]) * (W[j] + C[at]);
      dF_dot_C += dF[at] * C[at];
    }
    const T scale = 1 / (std::sqrt(squares) + static_cast<T>(kNormEpsilon));
    const T kappa = scale >= static_cast<T>(kNoNorm) ? T(0) : dF_dot_C * scale * scale * scale;
    for (int64_t j = 0; j < fan_in; ++j) {
      const int64_t at = layout.value(s, j);
      const T through_norm = -kappa * (W[j] + C[at]);
      dW[j] += through_norm;
      dF[at] = dF[at] * scale + through_norm;
    }
  }
}

// Backpropagates through everything that step t computes from F (kStep), then through the update of
// step t - 1 that made this F (kUpdate). Pointers are to the values of the first row of the sweep.
template <class Layout, Norm kNorm, bool kClamp, bool kStep, bool kUpdate>
struct StpnBackwardSweep {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kIsScaled<kNorm>;
  using Tile = HWY_NAMESPACE::Tile<Layout, 2>;
  using Values = typename Tile::Values;
  using RowValues = typename Tile::RowValues;

  struct Sums {
    V dh[Layout::kTileVectors], d_scale[Layout::kTileVectors];
  };

  class Row {
   public:
    HWY_INLINE Row(const StpnBackwardSweep& pass, const Tile& tile, int64_t i)
        : tile_(tile),
          parameters_(pass, tile, i),
          F_(pass.F + i * pass.matrix_row),
          dF_(pass.dF + i * pass.matrix_row),
          z_(pass.z),
          dz(tile, pass.dz),
          d_hebbian(tile, pass.d_hebbian),
          bound_(hn::Set(D(), pass.bound)) {
      if constexpr (kStep) scale = tile.neurons(pass.scale + i * S);
      du_over_n = tile.neurons(pass.du_over_n + i * S);
      dF_from_G = tile.neurons(pass.dF_from_G + i * S);
      dF_from_z = tile.neurons(pass.dF_from_z + i * S);
      if constexpr (kPost) dF_from_C = tile.neurons(pass.dF_from_C + i * S);
      dh = d_scale = Tile::zero();
      if constexpr (kUpdate) {
        F_before_ = pass.F_before + i * pass.matrix_row;
        hebbian_ = pass.hebbian;
        h = tile.neurons(pass.h + i * S);
        if constexpr (kScaled) scale_before = tile.neurons(pass.scale_before + i * S);
      }
    }

    template <bool kWanted>
    HWY_INLINE void at(int64_t j) {
      dz.load(j, kWanted);
      d_hebbian.load(j, kWanted);
      const RowValues W = parameters_.parameter(kWeight, j);
      const RowValues lambda = parameters_.parameter(kLambda, j);
      const RowValues gamma = parameters_.parameter(kGamma, j);
      RowValues dW = parameters_.gradient(kWeight, j);
      RowValues d_lambda = parameters_.gradient(kLambda, j);
      RowValues d_gamma = parameters_.gradient(kGamma, j);
      const Values F = kStep || kClamp ? tile_.synapses(F_, j) : Tile::zero();
      Values dF = tile_.synapses(dF_, j);
      if constexpr (kStep) dF = through_step(j, W, lambda, F, dF, dW);
      if constexpr (kUpdate && kClamp) dF = through_clamp(F, bound_, dF);
      tile_.store_synapses(dF, dF_, j);
      if constexpr (kUpdate) through_update(j, lambda, gamma, dF, d_lambda, d_gamma);
      if constexpr (kStep) parameters_.store_gradient(kWeight, dW, j);
      if constexpr (kUpdate) {
        parameters_.store_gradient(kLambda, d_lambda, j);
        parameters_.store_gradient(kGamma, d_gamma, j);
      }
      dz.store(j);
      d_hebbian.store(j);
    }

    HWY_INLINE void end(Sums& sums) const {
      tile_.put(dh, sums.dh);
      tile_.put(d_scale, sums.d_scale);
    }

   private:
    // From the gradient dA of what the update of step t made, before its clamp, to dF:
    //   u = G z / n + b,   A = Lambda F scale + ...,   G = W + F (norm `post`: W + F scale)
    HWY_INLINE Values through_step(int64_t j, const RowValues& W, const RowValues& lambda,
                                   const Values& F, const Values& dA, RowValues& dW) {
      const Values z = tile_.presynaptic(z_, j);
      const Values G = kPost ? fma(F, scale, Tile::all(W)) : F + Tile::all(W);
      Values dF = z * dF_from_z;
      const Values decayed = dA * Tile::all(lambda);
      add_products(z, du_over_n, dW);
      if constexpr (kPost) dF = fma(F, dF_from_C, dF);
      if constexpr (kNormed) {
        add_products(F, dF_from_G, dW);
        dF = fma(G, dF_from_G, dF);
      }
      dF = kScaled ? fma(decayed, scale, dF) : decayed + dF;
      dz.add_product(G, du_over_n);
      return dF;
    }

    // From the gradient dA of A = Lambda F scale + Gamma h z to those of all but F.
    HWY_INLINE void through_update(int64_t j, const RowValues& lambda, const RowValues& gamma,
                                   const Values& dA, RowValues& d_lambda, RowValues& d_gamma) {
      const Values F = tile_.synapses(F_before_, j);
      const Values dA_z = dA * tile_.presynaptic(hebbian_, j);
      dh = fma(dA_z, Tile::all(gamma), dh);
      add_products(dA_z, h, d_gamma);
      if constexpr (kScaled) {
        const Values dA_F = dA * F;
        d_scale = fma(dA_F, Tile::all(lambda), d_scale);
        add_products(dA_F, scale_before, d_lambda);
      } else {
        add_products(F, dA, d_lambda);
      }
      if (d_hebbian.is_wanted()) d_hebbian.add_product(dA * Tile::all(gamma), h);
    }

    const Tile tile_;
    const StpnTileParameters<Tile, Layout> parameters_;
    const T* const HWY_RESTRICT F_;
    T* const HWY_RESTRICT dF_;
    const T* const HWY_RESTRICT z_;
    const T* HWY_RESTRICT F_before_;
    const T* HWY_RESTRICT hebbian_;
    PresynapticGradient<Tile, Layout, kStep> dz;
    PresynapticGradient<Tile, Layout, kUpdate> d_hebbian;
    const V bound_;
    Values scale, scale_before, h;
    Values du_over_n, dF_from_z, dF_from_G, dF_from_C;
    Values dh, d_scale;
  };

  HWY_INLINE void store(const Sums& sums, int64_t i) const {
    if constexpr (kUpdate) Layout::store_sums(sums.dh, dh + i * S);
    if constexpr (kUpdate && kScaled) Layout::store_sums(sums.d_scale, d_scale + i * S);
  }

  const int64_t first_dz;  // presynaptic inputs before this one need no gradient
  const T bound;
  T* side_by_side;  // or, see StpnTileParameters:
  const T* parameters[kStpnMatrices];
  T* gradients[kStpnMatrices];
  int64_t parameter_row, gradient_row, matrix_row;  // from a row to the next
  const T *F, *scale, *z;                           // of step t; F is what it finds
  const T *F_before, *scale_before, *hebbian, *h;   // of step t - 1, and its presynaptic term
  T *dF, *dz, *d_hebbian;
  const T *du_over_n, *dF_from_z, *dF_from_G, *dF_from_C;  // neuron values, see StpnBackward
  T *dh, *d_scale;  // out: neuron values, the part of the update of step t - 1
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
