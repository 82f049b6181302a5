// What backward of the STPN does to rows: replay of a step, and the pass back, the second half of
// step t and the first of step t - 1, which stpn_recurrent_backward-inl.h tells apart. Compiled
// once a target.

#if defined(STPN_KERNELS_STPN_CPU_SWEEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_SWEEP_INL_H_
#undef STPN_KERNELS_STPN_CPU_SWEEP_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_SWEEP_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The update of a few rows again, from the h and the scale that forward kept.
template <class Layout, Norm kNorm, bool kClamp>
struct StpnRecompute {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int kTileVectors = Layout::kTileVectors;
  static constexpr int kVectors = Layout::kVectors;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kNorm == Norm::pre || kPost;

  // Parameters of the rows, and what their new F is clamped to.
  HWY_INLINE StpnRecompute(const Layout& its_layout, const T* its_lambda, const T* its_gamma, T bound)
      : layout(its_layout), lambda(its_lambda), gamma(its_gamma), new_bound(bound) {}

  // F of the rows before and after; of their units h and the scale; `inside`: what the old F is
  // clamped to.
  HWY_INLINE void step(const T* HWY_RESTRICT hebbian, const T* HWY_RESTRICT neurons,
                       const T* HWY_RESTRICT scales, T inside, const T* HWY_RESTRICT before,
                       T* HWY_RESTRICT after) const {
    const D d;
    const Layout layout = this->layout;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT lambda = this->lambda;
    const T* HWY_RESTRICT gamma = this->gamma;
    const V old_bound = hn::Set(d, inside);
    const V bound = hn::Set(d, new_bound);
    V h[kTileVectors], scale[kTileVectors];
    STPN_UNROLL
    for (int q = 0; q < kTileVectors; ++q) {
      h[q] = layout.neuron(neurons, q);
      if constexpr (kScaled) scale[q] = layout.neuron(scales, q);
    }
    for (int64_t j = 0; j < width; j += Layout::kColumns) {
      STPN_UNROLL
      for (int q = 0; q < kTileVectors; ++q) {
        const int row = q / kVectors;
        V old = hn::Load(d, before + layout.synapse(q, j));
        // With norm `post` C is divided before it decays: none stays at the bound.
        if constexpr (kClamp && !kPost) old = hn::Min(hn::Max(old, hn::Neg(old_bound)), old_bound);
        old = hn::Mul(layout.parameter(lambda, row, j), old);
        if constexpr (kScaled) old = hn::Mul(old, scale[q]);
        const V learnt = hn::Mul(layout.parameter(gamma, row, j),
                                 hn::Load(d, hebbian + layout.presynaptic(q % kVectors, j)));
        V F = hn::MulAdd(learnt, h[q], old);
        if constexpr (kClamp) F = hn::Min(hn::Max(F, hn::Neg(bound)), bound);
        hn::Store(F, d, after + layout.synapse(q, j));
      }
    }
  }

  const Layout layout;
  const T *lambda, *gamma;
  const T new_bound;
};

// What a block of rows has at some sources: parameters, and the sums of their gradients.
template <class Part>
struct SynapseRows {
  typename Part::V weight[Part::kRows], lambda[Part::kRows], gamma[Part::kRows];
  typename Part::V d_weight[Part::kRows], d_lambda[Part::kRows], d_gamma[Part::kRows];
};

// A block of rows on its way into step t: what is fixed along them, and the sums over them.
template <class Layout, class Part, Norm kNorm>
struct StpnInto {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int kTileVectors = Part::kTileVectors;
  static constexpr bool kScaled = kNorm == Norm::pre || kNorm == Norm::post;

  HWY_INLINE StpnInto(const Layout& its_layout, const Part& its_block)
      : layout(its_layout), part(its_block) {
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) along_h[p] = along_norm[p] = hn::Zero(D());
  }

  // Values of the rows' units: h, and the scale of F before the update; F before the update, and
  // the presynaptic term.
  HWY_INLINE void begin(const T* its_h, const T* its_scale, const T* its_before,
                        const T* its_hebbian) {
    before = its_before;
    hebbian = its_hebbian;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      h[p] = Layout::neuron(its_h, part.tile_vector(p));
      if constexpr (kScaled) scale[p] = Layout::neuron(its_scale, part.tile_vector(p));
    }
  }

  // From the gradient of the new F before its clamp: adds to all that the update touches.
  template <class Rows, class PresynapticGradient>
  HWY_INLINE void step(int64_t j, const V (&d_new)[kTileVectors], Rows& rows,
                       PresynapticGradient& of_hebbian) {
    const D d;
    V learnt[kTileVectors], decayed[kTileVectors];
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      const V F = hn::Load(d, before + layout.synapse(part.tile_vector(p), j));
      learnt[p] = hn::Mul(d_new[p], hn::Load(d, hebbian + layout.presynaptic(part.vector(p), j)));
      decayed[p] = kScaled ? hn::Mul(d_new[p], F) : F;
    }
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      const int r = p / Part::kVectors;
      along_h[p] = hn::MulAdd(learnt[p], rows.gamma[r], along_h[p]);
      if constexpr (kScaled) along_norm[p] = hn::MulAdd(decayed[p], rows.lambda[r], along_norm[p]);
      rows.d_gamma[r] = hn::MulAdd(learnt[p], h[p], rows.d_gamma[r]);
      rows.d_lambda[r] = hn::MulAdd(decayed[p], kScaled ? scale[p] : d_new[p], rows.d_lambda[r]);
    }
    if (!of_hebbian.wanted) return;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      of_hebbian.add(p, hn::Mul(d_new[p], rows.gamma[p / Part::kVectors]), h[p]);
    }
  }

  const Layout layout;
  const Part part;
  V h[kTileVectors], scale[kTileVectors];
  V along_h[kTileVectors], along_norm[kTileVectors];
  const T* HWY_RESTRICT before;
  const T* HWY_RESTRICT hebbian;
};

// Where a sweep finds the first of its rows, and how far it is to the next: worked out once, not
// for each row.
template <class Layout, Norm kNorm, bool kClamp>
struct StpnSweep {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;
  static constexpr int kTileVectors = Layout::kTileVectors;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kNorm == Norm::pre || kPost;
  using Part = TilePart<Layout, 2>;
  using Into = StpnInto<Layout, Part, kNorm>;

  // back(t) if kBack, then into(t-1) if kInto, for so many rows; from the last one on if `upwards`.
  template <bool kBack, bool kInto>
  void run(int64_t rows, bool upwards) const {
    for (int64_t done = 0; done < rows; done += Layout::kRows) {
      const int64_t i = upwards ? rows - Layout::kRows - done : done;
      V of_h[kTileVectors], of_norm[kTileVectors];
      STPN_UNROLL
      for (int b = 0; b < Part::kParts; ++b) lanes<kBack, kInto>(i, Part(b), of_h, of_norm);
      if constexpr (kInto) Layout::store_sums(of_h, along_h + i * S);
      if constexpr (kInto && kScaled) Layout::store_sums(of_norm, along_norm + i * S);
    }
  }

  template <bool kBack, bool kInto>
  HWY_INLINE void lanes(int64_t i, Part part, V (&along_h)[kTileVectors],
                        V (&along_norm)[kTileVectors]) const {
    const D d;
    const Layout layout = this->layout;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = this->W + i * this->parameters;
    const T* HWY_RESTRICT lambda = this->lambda + i * this->parameters;
    const T* HWY_RESTRICT gamma = this->gamma + i * this->parameters;
    T* HWY_RESTRICT sum_weight = this->sum_weight + i * this->sums;
    T* HWY_RESTRICT sum_lambda = this->sum_lambda + i * this->sums;
    T* HWY_RESTRICT sum_gamma = this->sum_gamma + i * this->sums;
    const T* HWY_RESTRICT F_rows = this->F + i * this->matrix;
    T* HWY_RESTRICT dF_rows = this->dF + i * this->matrix;
    const T* HWY_RESTRICT z = this->z;
    PresynapticGradient<Layout, Part, kBack> of_z(layout, part, this->dz, first_dz);
    PresynapticGradient<Layout, Part, kInto> of_hebbian(layout, part, this->d_hebbian, first_dz);
    const V bound = hn::Set(d, this->bound);
    V scale[Part::kTileVectors], per_z[Part::kTileVectors], per_G[Part::kTileVectors];
    V d_new_per_z[Part::kTileVectors], per_C[Part::kTileVectors];
    STPN_UNROLL
    for (int p = 0; p < Part::kTileVectors; ++p) {
      const int q = part.tile_vector(p);
      if constexpr (kBack) scale[p] = layout.neuron(this->scale + i * S, q);
      per_z[p] = layout.neuron(this->per_z + i * S, q);
      per_G[p] = layout.neuron(this->per_G + i * S, q);
      d_new_per_z[p] = layout.neuron(this->d_new_per_z + i * S, q);
      if constexpr (kPost) per_C[p] = layout.neuron(this->per_C + i * S, q);
    }
    Into into(layout, part);
    if constexpr (kInto) {
      into.begin(this->h + i * S, this->scale_before + i * S, this->before + i * this->matrix,
                 this->hebbian);
    }
    // Stage by stage for all lanes: one lane after the other, each a long chain, would fill the
    // processor's window with what waits.
    for (int64_t j = 0; j < width; j += Layout::kColumns) {
      of_z.load(j);
      of_hebbian.load(j);
      SynapseRows<Part> rows;
      STPN_UNROLL
      for (int r = 0; r < Part::kRows; ++r) {
        const int row = part.row(r * Part::kVectors);
        rows.weight[r] = layout.parameter(W, row, j);
        rows.lambda[r] = layout.parameter(lambda, row, j);
        rows.gamma[r] = layout.parameter(gamma, row, j);
        rows.d_weight[r] = hn::Load(d, sum_weight + layout.gradient(row, j));
        rows.d_lambda[r] = hn::Load(d, sum_lambda + layout.gradient(row, j));
        rows.d_gamma[r] = hn::Load(d, sum_gamma + layout.gradient(row, j));
      }
      V F[Part::kTileVectors], dF[Part::kTileVectors];
      STPN_UNROLL
      for (int p = 0; p < Part::kTileVectors; ++p) {
        const int64_t at = layout.synapse(part.tile_vector(p), j);
        F[p] = kBack || kClamp ? hn::Load(d, F_rows + at) : hn::Zero(d);
        dF[p] = hn::Load(d, dF_rows + at);
      }
      if constexpr (kBack) {
        V G[Part::kTileVectors], active[Part::kTileVectors], of_preactivation[Part::kTileVectors];
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          const V w = rows.weight[p / Part::kVectors];
          active[p] = hn::Load(d, z + layout.presynaptic(part.vector(p), j));
          G[p] = kPost ? hn::MulAdd(F[p], scale[p], w) : hn::Add(F[p], w);
          of_preactivation[p] = hn::Mul(active[p], d_new_per_z[p]);
          dF[p] = hn::Mul(dF[p], rows.lambda[p / Part::kVectors]);
        }
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          V& d_weight = rows.d_weight[p / Part::kVectors];
          d_weight = hn::MulAdd(active[p], per_z[p], d_weight);
          if constexpr (kPost) of_preactivation[p] = hn::MulAdd(F[p], per_C[p], of_preactivation[p]);
        }
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          if constexpr (!kNormed) continue;
          V& d_weight = rows.d_weight[p / Part::kVectors];
          d_weight = hn::MulAdd(F[p], per_G[p], d_weight);
          of_preactivation[p] = hn::MulAdd(G[p], per_G[p], of_preactivation[p]);
        }
        STPN_UNROLL
        for (int p = 0; p < Part::kTileVectors; ++p) {
          dF[p] = kScaled ? hn::MulAdd(dF[p], scale[p], of_preactivation[p]) : hn::Add(dF[p], of_preactivation[p]);
          of_z.add(p, G[p], per_z[p]);
        }
      }
      STPN_UNROLL
      for (int p = 0; p < Part::kTileVectors; ++p) {
        if constexpr (kInto && kClamp) {
          dF[p] = hn::IfThenElseZero(hn::Le(hn::Abs(F[p]), bound), dF[p]);
        }
        hn::Store(dF[p], d, dF_rows + layout.synapse(part.tile_vector(p), j));
      }
      if constexpr (kInto) into.step(j, dF, rows, of_hebbian);
      STPN_UNROLL
      for (int r = 0; r < Part::kRows; ++r) {
        const int64_t parameter = layout.gradient(part.row(r * Part::kVectors), j);
        if constexpr (kBack) hn::Store(rows.d_weight[r], d, sum_weight + parameter);
        if constexpr (kInto) {
          hn::Store(rows.d_lambda[r], d, sum_lambda + parameter);
          hn::Store(rows.d_gamma[r], d, sum_gamma + parameter);
        }
      }
      of_z.store(j);
      of_hebbian.store(j);
    }
    STPN_UNROLL
    for (int p = 0; p < Part::kTileVectors; ++p) {
      along_h[part.tile_vector(p)] = into.along_h[p];
      along_norm[part.tile_vector(p)] = into.along_norm[p];
    }
  }

  const Layout layout;
  const int64_t first_dz;  // sources before this one need no gradient
  const T bound;
  const T *W, *lambda, *gamma;
  T *sum_weight, *sum_lambda, *sum_gamma;
  int64_t parameters, sums, matrix;  // to the next row
  // Of step t: F before it, its scale, and z. Of step t-1 likewise, and h.
  const T *F, *scale, *z;
  const T *before, *scale_before, *hebbian, *h;
  T *dF, *dz, *d_hebbian;
  // Of units: per_* as the group has them, and the sums over rows that into(t-1) leaves.
  const T *per_z, *per_G, *d_new_per_z, *per_C;
  T *along_h, *along_norm;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
