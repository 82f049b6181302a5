// A step back of the STPN, for a group of samples. Compiled once a target.
//
// With A[t] the new F before clamp and norm, step t goes back in two halves:
//   into(t):  from dF[t] through norm `post`, clamp and update: dA[t], dGamma, dLambda, and the
//   sums
//             over a row that h[t] and n[t] need
//   back(t):  from dA[t] and du[t] through drive and norm: dF[t-1], dW, dz[t]
// back(t) and into(t-1) of a row share one pass over it. Replay uses the h and n that forward kept:
// no dot product, norm or activation is computed again.

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

#include "stpn/kernels/plastic_loop-inl.h"
#include "stpn/kernels/stpn_recurrent_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T, int S, Norm kNorm, bool kClamp>
class StpnBackward : public BackwardGroup<StpnBackward<T, S, kNorm, kClamp>, T, S> {
  using Loop = BackwardGroup<StpnBackward, T, S>;
  using Loop::is_reset;
  using Loop::kept_;
  using Loop::kRows;
  using Loop::plan_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::V;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPre = kNorm == Norm::pre;
  static constexpr bool kPost = kNorm == Norm::post;
  // Rows of F that go together: kRows units of S samples.
  static constexpr int kLanes = kRows * S;

 public:
  // What the last step makes is asked for only by the clamp and the norm after it.
  static constexpr bool kSeesNext = kClamp || kPost;

  static int64_t scratch(const Plan& plan) { return 4 * S * plan.row + 8 * plan.units(S); }

  // Adds to `gradients`.
  StpnBackward(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
               const StpnRecurrentBackward<T>& call, const PaddedMatrices<T>& parameters,
               const GradientSums<T>& gradients)
      : Loop(plan, first, kept, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters),
        gradients_(gradients),
        inputs_(call.forward.extent.inputs),
        recurrent_(call.forward.variant.recurrent),
        current_(recurrent_ && call.forward.variant.presynaptic == Presynaptic::current),
        first_dz_(call.grad_x != nullptr ? 0 : inputs_ / hn::Lanes(D()) * hn::Lanes(D())),
        z_(scratch.take(S * plan.row)),
        hebbian_(scratch.take(S * plan.row)),
        dz_(scratch.take(S * plan.row)),
        d_hebbian_(scratch.take(S * plan.row)),
        h_(scratch.take(plan.units(S))),
        dh_(scratch.take(plan.units(S))),
        along_h_(scratch.take(plan.units(S))),
        along_norm_(scratch.take(plan.units(S))),
        per_z_(scratch.take(plan.units(S))),
        per_G_(scratch.take(plan.units(S))),
        d_bias_(scratch.take(plan.units(S))),
        ones_(scratch.take(plan.units(S))) {
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
    load_presynaptic(t, current_, hebbian_);
    this->units_in(forward_.output, t, h_);
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) replay_rows(t, i);
  }

  void enter(int64_t end) {
    load_update(end - 1);
    sweep<false, true>(end);
  }

  void back(int64_t t, bool more) {
    load_drive(t);
    if (more) {
      load_update(t - 1);
      sweep<true, true>(t);
    } else {
      sweep<true, false>(t);
    }
    store_presynaptic(t);
  }

 private:
  // F is seen raw, before clamp and norm `post`, so that the clamp's gradient can tell a value at
  // the bound from one beyond; but that of a checkpoint is finished.
  T seen_bound(int64_t t) const {
    return this->is_checkpoint(t) ? std::numeric_limits<T>::infinity()
                                  : static_cast<T>(forward_.variant.clamp);
  }
  const T* seen_scale(int64_t t) const {
    return kPost && !this->is_checkpoint(t) ? kept_.units(t - 1, kKeptInversePostNorm) : ones_;
  }
  const T* inverse_norm(int64_t t) const {
    return kNormed ? kept_.units(t, kKeptInverseNorm) : ones_;
  }
  static HWY_INLINE V finished(V raw, [[maybe_unused]] V bound, [[maybe_unused]] V scale) {
    if constexpr (kClamp) raw = hn::Min(hn::Max(raw, hn::Neg(bound)), bound);
    return kPost ? hn::Mul(raw, scale) : raw;
  }

  // z of step t; its recurrent part is h[t] (current) or h[t-1], zero after a reset.
  void load_presynaptic(int64_t t, bool current, T* z) {
    for (int s = 0; s < S; ++s) {
      T* HWY_RESTRICT to = z + s * plan_.row;
      std::copy_n(forward_.x + this->place(t, s, inputs_), inputs_, to);
      if (!recurrent_) continue;
      if (!current && is_reset(t, s)) {
        std::fill_n(to + inputs_, plan_.hidden, T(0));
        continue;
      }
      const T* h = forward_.output + this->place(current ? t : t - 1, s, plan_.hidden);
      if (!current && t == 0) h = forward_.initial_h + this->place(0, s, plan_.hidden);
      std::copy_n(h, plan_.hidden, to + inputs_);
    }
  }

  HWY_INLINE void replay_rows(int64_t t, int64_t i) {
    const D d;
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    const T* HWY_RESTRICT hebbian = hebbian_;
    const T* HWY_RESTRICT before = this->seen(t) + i * S * length;
    T* HWY_RESTRICT after = this->seen(t + 1) + i * S * length;
    const V bound = hn::Set(d, seen_bound(t));
    V h[kLanes], inverse[kLanes], scale[kLanes];
    for (int q = 0; q < kLanes; ++q) {
      h[q] = hn::Set(d, h_[i * S + q]);
      inverse[q] = hn::Set(d, inverse_norm(t)[i * S + q]);
      scale[q] = hn::Set(d, seen_scale(t)[i * S + q]);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      for (int r = 0; r < kRows; ++r) {
        const V l = hn::Load(d, lambda + r * length + j);
        const V g = hn::Load(d, gamma + r * length + j);
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          const V F = finished(hn::Load(d, before + q * length + j), bound, scale[q]);
          V old = hn::Mul(l, F);
          if constexpr (kPre) old = hn::Mul(old, inverse[q]);
          const V learnt = hn::Mul(g, hn::Load(d, hebbian + s * length + j));
          hn::Store(hn::MulAdd(learnt, h[q], old), d, after + q * length + j);
        }
      }
    }
  }

  // What into(t) reads.
  void load_update(int64_t t) {
    load_presynaptic(t, current_, hebbian_);
    this->units_in(forward_.output, t, h_);
  }

  // What back(t) reads: from the gradient of h[t] to those of u[t] and n[t], for all units at once.
  void load_drive(int64_t t) {
    const D d;
    for (int s = 0; s < S; ++s) {
      const T* d_output = call_.grad_output == nullptr
                              ? nullptr
                              : call_.grad_output + this->place(t, s, plan_.hidden);
      for (int64_t i = 0; i < plan_.hidden && d_output != nullptr; ++i) {
        dh_[i * S + s] += d_output[i];
      }
      if (!current_) continue;
      T* HWY_RESTRICT presynaptic = d_hebbian_ + s * plan_.row + inputs_;
      for (int64_t i = 0; i < plan_.hidden; ++i) dh_[i * S + s] += presynaptic[i];
      std::fill_n(presynaptic, plan_.hidden, T(0));
    }
    // Where n is zero its gradient is taken as zero, and 1/n is this large.
    const V no_norm = hn::Set(d, static_cast<T>(0.5 / kNormFloor));
    for (int64_t k = 0; k < plan_.units(S); k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, dh_ + k), hn::Load(d, along_h_ + k));
      const V slope = activation_slope(d, forward_.variant.activation, hn::Load(d, h_ + k));
      const V du = hn::Mul(dh, slope);
      hn::Store(hn::Add(du, hn::Load(d, d_bias_ + k)), d, d_bias_ + k);
      if constexpr (kNormed) {
        const V inverse = hn::LoadU(d, inverse_norm(t) + k);
        V dn = hn::Mul(du, hn::LoadU(d, kept_.units(t, kKeptDrive) + k));
        if constexpr (kPre) dn = hn::Add(dn, hn::Load(d, along_norm_ + k));
        dn = hn::Neg(hn::Mul(dn, inverse));
        hn::Store(hn::Mul(du, inverse), d, per_z_ + k);
        hn::Store(hn::IfThenElseZero(hn::Lt(inverse, no_norm), hn::Mul(dn, inverse)), d,
                  per_G_ + k);
      } else {
        hn::Store(du, d, per_z_ + k);
      }
    }
    load_presynaptic(t, false, z_);
    std::swap(dz_, d_hebbian_);  // what the update of step t gave to z[t], to add to
    std::fill_n(d_hebbian_, S * plan_.row, T(0));
  }

  // The gradient of z[t] is complete: that of x[t], and what h[t-1] gets of it.
  void store_presynaptic(int64_t t) {
    for (int s = 0; s < S; ++s) {
      const T* HWY_RESTRICT dz = dz_ + s * plan_.row;
      if (call_.grad_x != nullptr) {
        std::copy_n(dz, inputs_, call_.grad_x + this->place(t, s, inputs_));
      }
      const bool cut = !recurrent_ || is_reset(t, s);
      for (int64_t i = 0; i < plan_.hidden; ++i) {
        dh_[i * S + s] = cut ? T(0) : dz[inputs_ + i];
      }
    }
  }

  // Rows on their way into step t: what is fixed along them, and the sums over them.
  struct Into {
    V h[kLanes], inverse[kLanes], scale[kLanes];
    V along_h[kLanes], along_norm[kLanes];
    V bound, bound_before;
    const T* HWY_RESTRICT before;  // F before the update, raw
  };

  HWY_INLINE void begin_into(D d, int64_t t, int64_t i, Into& into) {
    into.bound = hn::Set(d, static_cast<T>(forward_.variant.clamp));
    into.bound_before = hn::Set(d, seen_bound(t));
    into.before = this->seen(t) + i * S * plan_.row;
    for (int q = 0; q < kLanes; ++q) {
      const int64_t unit = i * S + q;
      into.h[q] = hn::Set(d, h_[unit]);
      into.inverse[q] = hn::Set(d, inverse_norm(t)[unit]);
      into.scale[q] = hn::Set(d, seen_scale(t)[unit]);
      into.along_h[q] = into.along_norm[q] = hn::Zero(d);
    }
  }

  // From the gradient of the clamped new F to that of the unclamped one, which is returned; adds to
  // all that it touches.
  HWY_INLINE V into_step(D d, Into& into, int q, int64_t j, V raw, V d_new, V l, V g, V& d_lambda,
                         V& d_gamma) {
    const int64_t at = q % S * plan_.row + j;
    if constexpr (kClamp) d_new = hn::IfThenElseZero(hn::Le(hn::Abs(raw), into.bound), d_new);
    const V z = hn::Load(d, hebbian_ + at);
    const V learnt = hn::Mul(d_new, g);
    into.along_h[q] = hn::MulAdd(learnt, z, into.along_h[q]);
    if (j >= first_dz_) {
      hn::Store(hn::MulAdd(learnt, into.h[q], hn::Load(d, d_hebbian_ + at)), d, d_hebbian_ + at);
    }
    d_gamma = hn::MulAdd(hn::Mul(d_new, into.h[q]), z, d_gamma);
    const V before =
        finished(hn::Load(d, into.before + q * plan_.row + j), into.bound_before, into.scale[q]);
    V decayed = hn::Mul(d_new, before);
    if constexpr (kPre) {
      decayed = hn::Mul(decayed, into.inverse[q]);
      into.along_norm[q] = hn::MulAdd(decayed, l, into.along_norm[q]);
    }
    d_lambda = hn::Add(d_lambda, decayed);
    return d_new;
  }

  HWY_INLINE void finish_into(D d, int64_t i, const Into& into) {
    sums_of_lanes<kLanes>(d, into.along_h, along_h_ + i * S);
    if constexpr (kPre) sums_of_lanes<kLanes>(d, into.along_norm, along_norm_ + i * S);
  }

  static HWY_INLINE void add_to(D d, V value, T* HWY_RESTRICT sum) {
    hn::Store(hn::Add(hn::Load(d, sum), value), d, sum);
  }

  // back(t) if kBack, then into(t-1) if kInto, for all rows.
  template <bool kBack, bool kInto>
  void sweep(int64_t t) {
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) rows<kBack, kInto>(t, i);
  }

  template <bool kBack, bool kInto>
  HWY_INLINE void rows(int64_t t, int64_t i) {
    const D d;
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    T* HWY_RESTRICT sum_weight = gradients_.matrix(kWeight) + i * length;
    T* HWY_RESTRICT sum_lambda = gradients_.matrix(kLambda) + i * length;
    T* HWY_RESTRICT sum_gamma = gradients_.matrix(kGamma) + i * length;
    const T* HWY_RESTRICT A = this->seen(t) + i * S * length;
    T* HWY_RESTRICT dF_rows = this->d_matrix(0) + i * S * length;
    const V bound = hn::Set(d, seen_bound(t));
    V scale[kLanes], inverse[kLanes], per_z[kLanes], per_G[kLanes], keep[kLanes], along_F[kLanes];
    for (int q = 0; q < kLanes; ++q) {
      const int64_t unit = i * S + q;
      scale[q] = hn::Set(d, seen_scale(t)[unit]);
      inverse[q] = hn::Set(d, kBack ? inverse_norm(t)[unit] : T(1));
      per_z[q] = hn::Set(d, per_z_[unit]);
      per_G[q] = hn::Set(d, per_G_[unit]);
      keep[q] = hn::Set(d, kBack && is_reset(t, q % S) ? T(0) : T(1));
      along_F[q] = hn::Zero(d);
    }
    Into into;
    if constexpr (kInto) begin_into(d, t - 1, i, into);
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      for (int r = 0; r < kRows; ++r) {
        const int64_t parameter = r * length + j;
        const V w = hn::Load(d, W + parameter);
        const V l = hn::Load(d, lambda + parameter);
        const V g = hn::Load(d, gamma + parameter);
        V d_weight = hn::Zero(d);
        V d_lambda = hn::Zero(d);
        V d_gamma = hn::Zero(d);
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          const int64_t at = q * length + j;
          const V raw = hn::Load(d, A + at);
          V dF = hn::Load(d, dF_rows + at);
          if constexpr (kBack) {
            const V G = hn::Add(w, finished(raw, bound, scale[q]));
            V decayed = hn::Mul(dF, l);
            if constexpr (kPre) decayed = hn::Mul(decayed, inverse[q]);
            V dG = hn::Mul(hn::Load(d, z_ + s * length + j), per_z[q]);
            if constexpr (kNormed) dG = hn::MulAdd(G, per_G[q], dG);
            d_weight = hn::Add(d_weight, dG);
            dF = hn::Mul(hn::Add(decayed, dG), keep[q]);
            if (j >= first_dz_) add_to(d, hn::Mul(G, per_z[q]), dz_ + s * length + j);
          }
          if constexpr (kInto && kPost) {
            along_F[q] = hn::MulAdd(dF, hn::Min(hn::Max(raw, hn::Neg(bound)), bound), along_F[q]);
          } else if constexpr (kInto) {
            dF = into_step(d, into, q, j, raw, dF, l, g, d_lambda, d_gamma);
          }
          hn::Store(dF, d, dF_rows + at);
        }
        if constexpr (kBack) add_to(d, d_weight, sum_weight + parameter);
        if constexpr (kInto && !kPost) {
          add_to(d, d_lambda, sum_lambda + parameter);
          add_to(d, d_gamma, sum_gamma + parameter);
        }
      }
    }
    if constexpr (kInto && kPost) through_post_norm(d, t, i, along_F, into);
    if constexpr (kInto) finish_into(d, i, into);
  }

  // Norm `post` of step t-1, F[t-1] = C / |W + C| with C the clamped A: first dC, then as without
  // it.
  HWY_INLINE void through_post_norm(D d, int64_t t, int64_t i, const V (&along_F)[kLanes],
                                    Into& into) {
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT A = this->seen(t) + i * S * length;
    T* HWY_RESTRICT dF_rows = this->d_matrix(0) + i * S * length;
    alignas(64) T sums[kLanes];
    sums_of_lanes<kLanes>(d, along_F, sums);
    V inverse[kLanes], per_G[kLanes];
    for (int q = 0; q < kLanes; ++q) {
      const T inverse_q = kept_.units(t - 1, kKeptInversePostNorm)[i * S + q];
      const bool no_norm = inverse_q >= static_cast<T>(0.5 / kNormFloor);
      inverse[q] = hn::Set(d, inverse_q);
      per_G[q] = hn::Set(d, no_norm ? T(0) : -sums[q] * inverse_q * inverse_q * inverse_q);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      for (int r = 0; r < kRows; ++r) {
        const int64_t parameter = r * length + j;
        const V w = hn::Load(d, parameters_.row(kWeight, i) + parameter);
        const V l = hn::Load(d, parameters_.row(kLambda, i) + parameter);
        const V g = hn::Load(d, parameters_.row(kGamma, i) + parameter);
        V d_weight = hn::Zero(d);
        V d_lambda = hn::Zero(d);
        V d_gamma = hn::Zero(d);
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          const int64_t at = q * length + j;
          const V raw = hn::Load(d, A + at);
          const V clamped = hn::Min(hn::Max(raw, hn::Neg(into.bound)), into.bound);
          const V dG = hn::Mul(hn::Add(w, clamped), per_G[q]);
          d_weight = hn::Add(d_weight, dG);
          const V d_new = hn::MulAdd(hn::Load(d, dF_rows + at), inverse[q], dG);
          hn::Store(into_step(d, into, q, j, raw, d_new, l, g, d_lambda, d_gamma), d, dF_rows + at);
        }
        add_to(d, d_weight, gradients_.matrix(kWeight) + i * length + parameter);
        add_to(d, d_lambda, gradients_.matrix(kLambda) + i * length + parameter);
        add_to(d, d_gamma, gradients_.matrix(kGamma) + i * length + parameter);
      }
    }
  }

  const StpnRecurrentBackward<T>& call_;
  const StpnRecurrentForward<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const GradientSums<T>& gradients_;
  const int64_t inputs_;
  const bool recurrent_;
  const bool current_;      // h[t] in the Hebbian term
  const int64_t first_dz_;  // sources before this one need no gradient
  T* const z_;              // drive of step t
  T* const hebbian_;        // presynaptic term of the update that is gone into
  T* dz_;                   // gradient of z[t]
  T* d_hebbian_;            // gradient of hebbian_
  T* const h_;              // of the step that is gone into
  T* const dh_;             // gradient of h, but for along_h_
  T* const along_h_;        // the update's part of the gradient of h
  T* const along_norm_;     // the update's part of the gradient of n, times -n
  T* const per_z_;          // du / n
  T* const per_G_;          // dn / n
  T* const d_bias_;
  T* const ones_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
