// A step back of the STPN, for a group of samples. Compiled once a target.
//
// With A[t] the new F before clamp and norm, step t goes back in two halves:
//   into(t):  from dF[t] through norm `post`, clamp and update: dA[t], dGamma,
//   dLambda, and the sums
//             over a row that h[t] and n[t] need
//   back(t):  from dA[t] and du[t] through drive and norm: dF[t-1], dW, dz[t]
// back(t) and into(t-1) of a row share one pass over it. Replay uses the h and
// n that forward kept: no dot product, norm or activation is computed again.

#if defined(STPN_KERNELS_STPN_RECURRENT_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RECURRENT_BACKWARD_INL_H_
#undef STPN_KERNELS_STPN_RECURRENT_BACKWARD_INL_H_
#else
#define STPN_KERNELS_STPN_RECURRENT_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "stpn/kernels/plastic_slices-inl.h"
#include "stpn/kernels/stpn_recurrent_into-inl.h"
#include "stpn/kernels/stpn_recurrent_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout, Norm kNorm, bool kClamp>
class StpnBackward : public BackwardLoop<StpnBackward<Layout, kNorm, kClamp>, Layout> {
  using Loop = BackwardLoop<StpnBackward, Layout>;
  using Loop::is_reset;
  using Loop::kept_;
  using Loop::kLanes;
  using Loop::kRows;
  using Loop::kVectors;
  using Loop::layout_;
  using Loop::plan_;
  using Loop::S;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  using typename Loop::V;
  using Into = StpnInto<Layout, kNorm, kClamp>;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPre = kNorm == Norm::pre;
  static constexpr bool kPost = kNorm == Norm::post;

 public:
  // Only the clamp and the norm after it ask for what an update made.
  static constexpr bool kSeesNext = kClamp || kPost;

  static int64_t scratch(const Plan& plan) {
    return plan.interval * ((Layout::kSlices ? 1 : 2) * plan.presynaptic(S) + plan.units(S)) +
           slots(plan) * (plan.presynaptic(S) + plan.units(S)) + plan.presynaptic(S) +
           7 * plan.units(S) +
           plan.padded(inside_bytes(plan) * (plan.interval + 1) / sizeof(T) + 8);
  }

  // Adds to `gradients`.
  StpnBackward(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
               const StpnRecurrentBackward<T>& call, const PaddedMatrices<T>& parameters,
               const Gradients<T>& gradients)
      : Loop(plan, first, kept, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters),
        gradients_(gradients),
        inputs_(call.forward.extent.inputs),
        recurrent_(call.forward.variant.recurrent),
        current_(recurrent_ && call.forward.variant.presynaptic == Presynaptic::current),
        first_dz_(call.grad_x != nullptr ? 0 : Layout::vector_of(inputs_)),
        z_(scratch.take(plan.interval * plan.presynaptic(S))),
        hebbian_(scratch.take(Layout::kSlices ? 0 : plan.interval * plan.presynaptic(S))),
        h_(scratch.take(plan.interval * plan.units(S))),
        dz_(scratch.take(slots(plan) * plan.presynaptic(S))),
        d_hebbian_(scratch.take(plan.presynaptic(S))),
        dh_(scratch.take(slots(plan) * plan.units(S))),
        along_h_(scratch.take(plan.units(S))),
        along_norm_(scratch.take(plan.units(S))),
        per_z_(scratch.take(plan.units(S))),
        per_G_(scratch.take(plan.units(S))),
        d_bias_(scratch.take(plan.units(S))),
        from_update_(scratch.take(plan.units(S))),
        ones_(scratch.take(plan.units(S))),
        inside_(reinterpret_cast<uint8_t*>(
            scratch.take(inside_bytes(plan) * (plan.interval + 1) / sizeof(T) + 8))) {
    std::fill_n(ones_, plan.units(S), T(1));
  }

  void begin() {
    const auto& v = forward_.variant;
    this->copy_in(call_.grad_final_F, plastic_sources(forward_.extent, v),
                  first_plastic_source(forward_.extent, v), this->d_matrix(0));
  }

  void end() {
    const auto& v = forward_.variant;
    this->copy_out(this->d_matrix(0), plastic_sources(forward_.extent, v),
                   first_plastic_source(forward_.extent, v), call_.grad_initial_F);
    if (call_.grad_initial_h != nullptr) this->units_out(dh_, 0, call_.grad_initial_h);
    for (int64_t k = 0; k < plan_.hidden * S; ++k) gradients_.vector(kBias)[k / S] += d_bias_[k];
  }

  void replay(int64_t t) {
    load(t);
    replay(t, this->all_rows());
  }
  void enter(int64_t end) {
    if (!kSeesNext) load(end - 1);
    enter(end, this->all_rows());
  }
  void back(int64_t t, bool more) {
    load_gradient(t);
    back(t, more, this->all_rows());
    store(t);
  }

  void load(int64_t t) {
    load_presynaptic(t, false, z(t));
    if (current_) load_presynaptic(t, true, hebbian(t));
    this->units_in(forward_.output, t, h(t));
    if (Layout::kSlices && call_.grad_output != nullptr) {
      this->units_in(call_.grad_output, t, dh(t));
    }
  }

  void replay(int64_t t, Rows which) {
    for (int64_t i = which.begin; i < which.end; i += kRows) replay_rows(t, i);
  }

  void enter(int64_t end, Rows which) { sweep<false, true>(end, which); }

  void back(int64_t t, bool more, Rows which) {
    through_activation(t, which);
    if (more && !this->any_reset(t)) {
      sweep<true, true>(t, which);
    } else {
      sweep<true, false>(t, which);
      for (int s = 0; s < S; ++s) {
        if (!is_reset(t, s)) continue;
        this->clear_sample(this->d_matrix(0) + this->row_of(which.begin), which.end - which.begin,
                           s);
      }
      if (more) sweep<false, true>(t, which);
    }
  }

  void leave(Rows which) { gradients_.bring_lanes_together(which); }

  // The gradient of z[t] is complete: that of x[t], and what h[t-1] gets of it.
  void store(int64_t t) {
    if (call_.grad_x != nullptr) {
      this->sources_to_rows(dz(t), 0, inputs_, call_.grad_x + this->place(t, 0, inputs_), inputs_);
    }
    if constexpr (Layout::kSlices) {
      std::fill_n(dz(t), plan_.presynaptic(S), T(0));
      return;
    }
    if (!recurrent_) {
      std::fill_n(dh_, plan_.units(S), T(0));
      return;
    }
    this->sources_to_units(dz_, inputs_, dh_);
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden && is_reset(t, s); ++i) dh_[i * S + s] = T(0);
    }
  }

 private:
  // In slices the gradients of z and h are those of all steps of an interval, else of one.
  static int64_t slots(const Plan& plan) { return Layout::kSlices ? plan.interval : 1; }
  int64_t slot(int64_t t) const { return Layout::kSlices ? this->within(t) : 0; }
  T* dz(int64_t t) const { return dz_ + slot(t) * plan_.presynaptic(S); }
  T* dh(int64_t t) const { return dh_ + slot(t) * plan_.units(S); }
  // Of the update's presynaptic term.
  T* d_hebbian(int64_t t) const { return Layout::kSlices ? dz(t) : d_hebbian_; }

  // One bit a synapse, a byte or more a vector: whether the clamp left the new F as it was.
  static int64_t inside_bytes(const Plan& plan) {
    const D d;
    return plan.matrix(S) / hn::Lanes(d) * inside_stride<T>();
  }
  // Of row i of the F that step t sees.
  uint8_t* inside(int64_t t, int64_t i) const {
    const D d;
    return inside_ + this->within(t) * inside_bytes(plan_) +
           this->row_of(i) / hn::Lanes(d) * inside_stride<T>();
  }

  const T* inverse_norm(int64_t t, int64_t i) const {
    return kNormed ? kept_.units(t, kKeptInverseNorm, i) : ones_ + i * S;
  }
  // Activity of the interval's steps: what drives a step, the presynaptic term
  // of its update, and h.
  T* z(int64_t t) const { return z_ + this->within(t) * plan_.presynaptic(S); }
  T* hebbian(int64_t t) const {
    return current_ ? hebbian_ + this->within(t) * plan_.presynaptic(S) : z(t);
  }
  T* h(int64_t t) const { return h_ + this->within(t) * plan_.units(S); }

  // z of step t; its recurrent part is h[t] (current) or h[t-1], zero after a reset.
  void load_presynaptic(int64_t t, bool current, T* z) const {
    this->rows_to_sources(forward_.x + this->place(t, 0, inputs_), inputs_, inputs_, 0, z);
    if (!recurrent_) return;
    if (current) {
      this->rows_to_sources(forward_.output + this->place(t, 0, plan_.hidden), plan_.hidden,
                            plan_.hidden, inputs_, z);
    } else {
      this->activity_before(forward_.initial_h, forward_.output, t, inputs_, z);
    }
  }

  HWY_INLINE void replay_rows(int64_t t, int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    const T* HWY_RESTRICT hebbian = this->hebbian(t);
    const T* HWY_RESTRICT before = this->seen_rows(t, i);
    T* HWY_RESTRICT after = this->seen_rows(t + 1, i);
    uint8_t* HWY_RESTRICT inside = kClamp ? this->inside(t + 1, i) : nullptr;
    const V bound = hn::Set(d, static_cast<T>(forward_.variant.clamp));
    V h[kLanes], scale[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      h[q] = layout.unit(this->h(t) + i * S, q);
      if constexpr (kPre) scale[q] = layout.unit(inverse_norm(t, i), q);
      if constexpr (kPost) scale[q] = layout.unit(kept_.units(t, kKeptInversePostNorm, i), q);
    }
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V l = layout.parameter(lambda, r, j);
        const V g = layout.parameter(gamma, r, j);
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const int q = r * kVectors + v;
          V old = hn::Mul(l, hn::Load(d, before + layout.synapse(q, j)));
          if constexpr (kPre) old = hn::Mul(old, scale[q]);
          const V learnt = hn::Mul(g, hn::Load(d, hebbian + layout.source(v, j)));
          V F = hn::MulAdd(learnt, h[q], old);
          if constexpr (kClamp) {
            hn::StoreMaskBits(d, hn::Le(hn::Abs(F), bound),
                              inside + layout.synapse(q, j) / hn::Lanes(d) * inside_stride<T>());
            F = hn::Min(hn::Max(F, hn::Neg(bound)), bound);
          }
          if constexpr (kPost) F = hn::Mul(F, scale[q]);
          hn::Store(F, d, after + layout.synapse(q, j));
        }
      }
    }
  }

  // What h[t] and z[t] get of all but step t's rows, where it is not in slices.
  void load_gradient(int64_t t) {
    if (call_.grad_output != nullptr) {
      this->units_in(call_.grad_output, t, from_update_);
      add_units(from_update_);
    }
    if (current_) {
      this->sources_to_units(d_hebbian_, inputs_, from_update_);
      add_units(from_update_);
      for (int s = 0; s < S; ++s) this->clear_sources(s, plan_.hidden, inputs_, d_hebbian_);
    }
    std::swap(dz_, d_hebbian_);  // what the update of step t gave to z[t], to add to
    std::fill_n(d_hebbian_, plan_.presynaptic(S), T(0));
  }

  void add_units(const T* HWY_RESTRICT units) {
    for (int64_t k = 0; k < plan_.units(S); ++k) dh_[k] += units[k];
  }

  // From the gradient of h[t] to those of u[t] and n[t], for many units at once.
  void through_activation(int64_t t, Rows which) {
    const D d;
    const int64_t begin = which.begin * S;
    const int64_t end = Layout::kSlices ? which.end * S : plan_.units(S);
    // Where n is zero its gradient is taken as zero, and 1/n is this large.
    const V no_norm = hn::Set(d, static_cast<T>(0.5 / kNormFloor));
    for (int64_t k = begin; k < end; k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, this->dh(t) + k), hn::Load(d, along_h_ + k));
      const V slope = activation_slope(d, forward_.variant.activation, hn::Load(d, h(t) + k));
      const V du = hn::Mul(dh, slope);
      hn::Store(hn::Add(du, hn::Load(d, d_bias_ + k)), d, d_bias_ + k);
      if constexpr (kNormed) {
        const V inverse = hn::LoadU(d, inverse_norm(t, which.begin) + (k - begin));
        V dn = hn::Mul(du, hn::LoadU(d, kept_.units(t, kKeptDrive, which.begin) + (k - begin)));
        if constexpr (kPre) dn = hn::Add(dn, hn::Load(d, along_norm_ + k));
        dn = hn::Neg(hn::Mul(dn, inverse));
        hn::Store(hn::Mul(du, inverse), d, per_z_ + k);
        hn::Store(hn::IfThenElseZero(hn::Lt(inverse, no_norm), hn::Mul(dn, inverse)), d,
                  per_G_ + k);
      } else {
        hn::Store(du, d, per_z_ + k);
      }
    }
  }

  HWY_INLINE void begin_into(int64_t t, int64_t i, Into& into) {
    into.before = this->seen_rows(t, i);
    into.inside = kClamp ? inside(t + 1, i) : nullptr;
    into.hebbian = hebbian(t);
    into.first_dz = first_dz_;
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      into.h[q] = Layout::unit(h(t) + i * S, q);
      into.inverse[q] = Layout::unit(inverse_norm(t, i), q);
    }
  }

  HWY_INLINE void finish_into(int64_t i, const Into& into) {
    Layout::store_sums(into.along_h, along_h_ + i * S);
    if constexpr (kPre) Layout::store_sums(into.along_norm, along_norm_ + i * S);
  }

  static HWY_INLINE void add_to(D d, V value, T* HWY_RESTRICT sum) {
    hn::Store(hn::Add(hn::Load(d, sum), value), d, sum);
  }

  // back(t) if kBack, then into(t-1) if kInto, for all rows.
  template <bool kBack, bool kInto>
  void sweep(int64_t t, Rows which) {
    for (int64_t i = which.begin; i < which.end; i += kRows) rows<kBack, kInto>(t, i);
  }

  template <bool kBack, bool kInto>
  HWY_INLINE void rows(int64_t t, int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    T* HWY_RESTRICT sum_weight = gradients_.template rows<Layout>(kWeight, i);
    T* HWY_RESTRICT sum_lambda = gradients_.template rows<Layout>(kLambda, i);
    T* HWY_RESTRICT sum_gamma = gradients_.template rows<Layout>(kGamma, i);
    const T* HWY_RESTRICT F_rows = this->seen_rows(t, i);
    T* HWY_RESTRICT dF_rows = this->d_matrix(0) + this->row_of(i);
    const T* HWY_RESTRICT z = kBack ? this->z(t) : nullptr;
    PresynapticGradient<Layout, kBack> of_z(layout, dz(t), first_dz_);
    PresynapticGradient<Layout, kInto && !kPost> of_hebbian(layout, d_hebbian(t - 1), first_dz_);
    V inverse[kLanes], per_z[kLanes], per_G[kLanes], along_F[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      inverse[q] = kBack ? layout.unit(inverse_norm(t, i), q) : hn::Set(d, T(1));
      per_z[q] = layout.unit(per_z_ + i * S, q);
      per_G[q] = layout.unit(per_G_ + i * S, q);
      along_F[q] = hn::Zero(d);
    }
    Into into(layout);
    if constexpr (kInto) begin_into(t - 1, i, into);
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      of_z.load(j);
      of_hebbian.load(j);
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int64_t parameter = layout.gradient(r, j);
        const V w = layout.parameter(W, r, j);
        const V l = layout.parameter(lambda, r, j);
        const V g = layout.parameter(gamma, r, j);
        V d_weight = hn::Zero(d);
        V d_lambda = hn::Zero(d);
        V d_gamma = hn::Zero(d);
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const int q = r * kVectors + v;
          const int64_t at = layout.synapse(q, j);
          const V F = hn::Load(d, F_rows + at);
          V dF = hn::Load(d, dF_rows + at);
          if constexpr (kBack) {
            const V G = hn::Add(w, F);
            V decayed = hn::Mul(dF, l);
            if constexpr (kPre) decayed = hn::Mul(decayed, inverse[q]);
            V dG = hn::Mul(hn::Load(d, z + layout.source(v, j)), per_z[q]);
            if constexpr (kNormed) dG = hn::MulAdd(G, per_G[q], dG);
            d_weight = hn::Add(d_weight, dG);
            dF = hn::Add(decayed, dG);
            if (of_z.wanted) of_z.sums[v] = hn::MulAdd(G, per_z[q], of_z.sums[v]);
          }
          if constexpr (kInto && kPost) {
            along_F[q] = hn::MulAdd(dF, F, along_F[q]);
          } else if constexpr (kInto) {
            dF = into.step(q, j, dF, l, g, d_lambda, d_gamma, of_hebbian.sums[v]);
          }
          hn::Store(dF, d, dF_rows + at);
        }
        if constexpr (kBack) add_to(d, d_weight, sum_weight + parameter);
        if constexpr (kInto && !kPost) {
          add_to(d, d_lambda, sum_lambda + parameter);
          add_to(d, d_gamma, sum_gamma + parameter);
        }
      }
      of_z.store(j);
      of_hebbian.store(j);
    }
    if constexpr (kInto && kPost) through_post_norm(d, t, i, along_F, into);
    if constexpr (kInto) finish_into(i, into);
  }

  // Norm `post` of step t-1, F = C / m with m = |W + C| and C the clamped new F: first
  //   dC = dF / m - (dF . F) (W + m F) / m^2,
  // of which W gets the second part too; then as without the norm.
  HWY_INLINE void through_post_norm(D d, int64_t t, int64_t i, const V (&along_F)[kLanes],
                                    Into& into) {
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    T* HWY_RESTRICT sum_weight = gradients_.template rows<Layout>(kWeight, i);
    T* HWY_RESTRICT sum_lambda = gradients_.template rows<Layout>(kLambda, i);
    T* HWY_RESTRICT sum_gamma = gradients_.template rows<Layout>(kGamma, i);
    const T* HWY_RESTRICT F_rows = this->seen_rows(t, i);
    T* HWY_RESTRICT dF_rows = this->d_matrix(0) + this->row_of(i);
    alignas(64) T sums[kRows * S];
    Layout::store_sums(along_F, sums);
    const V no_norm = hn::Set(d, static_cast<T>(0.5 / kNormFloor));
    const T* kept_inverse = kept_.units(t - 1, kKeptInversePostNorm, i);
    V inverse[kLanes], per_W[kLanes], per_F[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      inverse[q] = layout.unit(kept_inverse, q);
      const V per = hn::Neg(hn::Mul(layout.unit(sums, q), inverse[q]));
      per_F[q] = hn::IfThenElseZero(hn::Lt(inverse[q], no_norm), per);
      per_W[q] = hn::Mul(per_F[q], inverse[q]);
    }
    PresynapticGradient<Layout, true> of_hebbian(layout, d_hebbian(t - 1), first_dz_);
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      of_hebbian.load(j);
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int64_t parameter = layout.gradient(r, j);
        const V w = layout.parameter(W, r, j);
        const V l = layout.parameter(lambda, r, j);
        const V g = layout.parameter(gamma, r, j);
        V d_weight = hn::Zero(d);
        V d_lambda = hn::Zero(d);
        V d_gamma = hn::Zero(d);
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          const int q = r * kVectors + v;
          const int64_t at = layout.synapse(q, j);
          const V dG = hn::MulAdd(hn::Load(d, F_rows + at), per_F[q], hn::Mul(w, per_W[q]));
          d_weight = hn::Add(d_weight, dG);
          const V dC = hn::MulAdd(hn::Load(d, dF_rows + at), inverse[q], dG);
          const V dA = into.step(q, j, dC, l, g, d_lambda, d_gamma, of_hebbian.sums[v]);
          hn::Store(dA, d, dF_rows + at);
        }
        add_to(d, d_weight, sum_weight + parameter);
        add_to(d, d_lambda, sum_lambda + parameter);
        add_to(d, d_gamma, sum_gamma + parameter);
      }
      of_hebbian.store(j);
    }
  }

  const StpnRecurrentBackward<T>& call_;
  const StpnRecurrentForward<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const Gradients<T>& gradients_;
  const int64_t inputs_;
  const bool recurrent_;
  const bool current_;      // h[t] in the Hebbian term
  const int64_t first_dz_;  // sources before this one need no gradient
  T* const z_;              // of the interval: activity that drives, (steps, S, row)
  T* const hebbian_;        // of the interval: activity that teaches, where it is another
  T* const h_;              // of the interval: (steps, units)
  T* dz_;                   // gradient of z[t]
  T* d_hebbian_;            // gradient of hebbian_
  T* const dh_;             // gradient of h, but for along_h_
  T* const along_h_;        // the update's part of the gradient of h
  T* const along_norm_;     // the update's part of the gradient of n, times -n
  T* const per_z_;          // du / n
  T* const per_G_;          // dn / n
  T* const d_bias_;
  T* const from_update_;  // what h gets of the update as a presynaptic activity, and of the caller
  T* const ones_;
  uint8_t* const inside_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
