// Backward of the recurrent STPN for a group of samples, all steps. Compiled once a target.
//
// With A[t] the new F before clamp and norm, step t goes back in two halves:
//   into(t):  from dF[t] through norm `post`, clamp and update:  dA[t], dGamma, dLambda, and the
//   sums over a row that h[t] and n[t] need back(t):  from dA[t] and du[t] through drive and norm:
//   dF[t-1], dW, dz[t]
// back(t) and into(t-1) of a row share one pass over it. F comes from replaying an interval of
// steps from its checkpoint, with the h and n that forward kept: no dot product, norm or activation
// is computed again.

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

#include "stpn/kernels/stpn_recurrent_plan.h"
#include "stpn/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T, int S, Norm kNorm, bool kClamp>
class BackwardGroup {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  using Plan = StpnRecurrentPlan<T>;
  static constexpr bool kNormed = kNorm != Norm::none;
  static constexpr bool kPre = kNorm == Norm::pre;
  static constexpr bool kPost = kNorm == Norm::post;

 public:
  static int64_t scratch(const Plan& plan) {
    return (plan.interval + 2) * plan.weights(S) + 4 * S * plan.row + 8 * plan.units(S);
  }

  // `scratch` is all zeros. Adds to `gradients`.
  BackwardGroup(const StpnRecurrentBackward<T>& p, const PaddedParameters<T>& parameters,
                const Plan& plan, int64_t first, T* kept, T* scratch,
                const ParameterGradients<T>& gradients)
      : p_(p),
        f_(p.forward),
        parameters_(parameters),
        plan_(plan),
        first_(first),
        kept_(kept, plan, S),
        gradients_(gradients),
        first_dz_(p.grad_x != nullptr ? 0 : plan.inputs / hn::Lanes(D()) * hn::Lanes(D())),
        A_(scratch),
        dF_(A_ + (plan.interval + 1) * plan.weights(S)),
        z_(dF_ + plan.weights(S)),
        hebbian_(z_ + S * plan.row),
        dz_(hebbian_ + S * plan.row),
        d_hebbian_(dz_ + S * plan.row),
        h_(d_hebbian_ + S * plan.row),
        dh_(h_ + plan.units(S)),
        along_h_(dh_ + plan.units(S)),
        along_norm_(along_h_ + plan.units(S)),
        per_z_(along_norm_ + plan.units(S)),
        per_G_(per_z_ + plan.units(S)),
        d_bias_(per_G_ + plan.units(S)),
        ones_(d_bias_ + plan.units(S)) {
    std::fill_n(ones_, plan.units(S), T(1));
  }

  void run() {
    load_gradient();
    for (int64_t k = plan_.checkpoints - 1; k >= 0; --k) {
      begin_ = k * plan_.interval;
      const int64_t end = std::min(begin_ + plan_.interval, plan_.steps);
      replay(k, end);
      enter_step(end - 1);
      sweep<false, true>(end);
      for (int64_t t = end - 1; t >= begin_; --t) {
        leave_step(t);
        if (t > begin_) {
          enter_step(t - 1);
          sweep<true, true>(t);
        } else {
          sweep<true, false>(t);
        }
        finish_step(t);
      }
    }
    store_gradient();
  }

 private:
  // F as step t sees it: stored raw, so that the clamp's gradient can tell a value at the bound
  // from one beyond.
  T* seen(int64_t t) { return A_ + (t - begin_) * plan_.weights(S); }
  // The first of an interval is a finished F.
  T seen_bound(int64_t t) const {
    return t == begin_ ? std::numeric_limits<T>::infinity() : static_cast<T>(f_.variant.clamp);
  }
  const T* seen_scale(int64_t t) const {
    return kPost && t > begin_ ? kept_.inverse_post_norm(t - 1) : ones_;
  }
  const T* inverse_norm(int64_t t) const { return kNormed ? kept_.inverse_norm(t) : ones_; }

  bool is_reset(int64_t t, int s) const {
    return f_.reset != nullptr && f_.reset[t * f_.extent.batch + first_ + s] != 0;
  }
  T h_at(int64_t t, int s, int64_t i) const {
    return f_.output[(t * f_.extent.batch + first_ + s) * plan_.hidden + i];
  }

  void load_gradient() {
    if (p_.grad_final_F == nullptr) return;
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        std::copy_n(p_.grad_final_F + ((first_ + s) * plan_.hidden + i) * plan_.sources,
                    plan_.sources, dF_ + (i * S + s) * plan_.row);
      }
    }
  }

  void store_gradient() {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        const int64_t unit = (first_ + s) * plan_.hidden + i;
        if (p_.grad_initial_h != nullptr) p_.grad_initial_h[unit] = dh_[i * S + s];
        if (p_.grad_initial_F != nullptr) {
          std::copy_n(dF_ + (i * S + s) * plan_.row, plan_.sources,
                      p_.grad_initial_F + unit * plan_.sources);
        }
        gradients_.bias[i] += d_bias_[i * S + s];
      }
    }
  }

  // z of step t; its recurrent part is h[from], or zero after a reset.
  void load_z(int64_t t, bool current, T* z) {
    for (int s = 0; s < S; ++s) {
      T* at = z + s * plan_.row;
      std::copy_n(f_.x + (t * f_.extent.batch + first_ + s) * plan_.inputs, plan_.inputs, at);
      at += plan_.inputs;
      for (int64_t i = 0; i < plan_.hidden; ++i) {
        if (current) {
          at[i] = h_at(t, s, i);
        } else if (is_reset(t, s)) {
          at[i] = T(0);
        } else {
          at[i] = t > 0 ? h_at(t - 1, s, i) : f_.initial_h[(first_ + s) * plan_.hidden + i];
        }
      }
    }
  }

  void load_h(int64_t t) {
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden; ++i) h_[i * S + s] = h_at(t, s, i);
    }
  }

  void replay(int64_t checkpoint, int64_t end) {
    std::copy_n(kept_.checkpoint(checkpoint), plan_.weights(S), A_);
    // What the last step makes is asked for only by the clamp and the norm after it.
    const int64_t last = kClamp || kPost ? end : end - 1;
    for (int64_t t = begin_; t < last; ++t) {
      load_z(t, f_.variant.presynaptic == Presynaptic::current, hebbian_);
      load_h(t);
      for (int64_t i = 0; i < plan_.hidden; ++i) replay_row(t, i);
      for (int s = 0; s < S && t + 1 < plan_.steps; ++s) {
        if (!is_reset(t + 1, s)) continue;
        for (int64_t i = 0; i < plan_.hidden; ++i) {
          std::fill_n(seen(t + 1) + (i * S + s) * plan_.row, plan_.row, T(0));
        }
      }
    }
  }

  static HWY_INLINE V finished(V raw, [[maybe_unused]] V bound, [[maybe_unused]] V scale) {
    if constexpr (kClamp) raw = hn::Min(hn::Max(raw, hn::Neg(bound)), bound);
    return kPost ? hn::Mul(raw, scale) : raw;
  }

  HWY_INLINE void replay_row(int64_t t, int64_t i) {
    const D d;
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT lambda = parameters_.lambda + i * length;
    const T* HWY_RESTRICT gamma = parameters_.gamma + i * length;
    const T* HWY_RESTRICT before = seen(t) + i * S * length;
    T* HWY_RESTRICT after = seen(t + 1) + i * S * length;
    const V bound = hn::Set(d, seen_bound(t));
    V h[S], inverse[S], scale[S];
    for (int s = 0; s < S; ++s) {
      h[s] = hn::Set(d, h_[i * S + s]);
      inverse[s] = hn::Set(d, inverse_norm(t)[i * S + s]);
      scale[s] = hn::Set(d, seen_scale(t)[i * S + s]);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      const V l = hn::Load(d, lambda + j);
      const V g = hn::Load(d, gamma + j);
      for (int s = 0; s < S; ++s) {
        const V F = finished(hn::Load(d, before + s * length + j), bound, scale[s]);
        V old = hn::Mul(l, F);
        if constexpr (kPre) old = hn::Mul(old, inverse[s]);
        const V z = hn::Load(d, hebbian_ + s * length + j);
        hn::Store(hn::MulAdd(hn::Mul(g, z), h[s], old), d, after + s * length + j);
      }
    }
  }

  // What into(t) reads.
  void enter_step(int64_t t) {
    load_z(t, f_.variant.presynaptic == Presynaptic::current, hebbian_);
    load_h(t);
  }

  // From the gradient of h[t] to those of u[t] and n[t], for all units at once.
  void leave_step(int64_t t) {
    const D d;
    for (int s = 0; s < S; ++s) {
      const int64_t out = (t * f_.extent.batch + first_ + s) * plan_.hidden;
      T* presynaptic = d_hebbian_ + s * plan_.row + plan_.inputs;
      for (int64_t i = 0; i < plan_.hidden; ++i) {
        if (p_.grad_output != nullptr) dh_[i * S + s] += p_.grad_output[out + i];
        if (f_.variant.presynaptic == Presynaptic::current) {
          dh_[i * S + s] += presynaptic[i];
          presynaptic[i] = T(0);
        }
      }
    }
    // Where n is zero its gradient is taken as zero, and 1/n is this large.
    const V no_norm = hn::Set(d, static_cast<T>(0.5 / kNormFloor));
    for (int64_t k = 0; k < plan_.units(S); k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, dh_ + k), hn::Load(d, along_h_ + k));
      const V du = hn::Mul(dh, activation_slope(d, f_.variant.activation, hn::Load(d, h_ + k)));
      hn::Store(hn::Add(du, hn::Load(d, d_bias_ + k)), d, d_bias_ + k);
      if constexpr (kNormed) {
        const V inverse = hn::LoadU(d, kept_.inverse_norm(t) + k);
        V dn = hn::Mul(du, hn::LoadU(d, kept_.drive(t) + k));
        if constexpr (kPre) dn = hn::Add(dn, hn::Load(d, along_norm_ + k));
        dn = hn::Neg(hn::Mul(dn, inverse));
        hn::Store(hn::Mul(du, inverse), d, per_z_ + k);
        hn::Store(hn::IfThenElseZero(hn::Lt(inverse, no_norm), hn::Mul(dn, inverse)), d,
                  per_G_ + k);
      } else {
        hn::Store(du, d, per_z_ + k);
      }
    }
    load_z(t, false, z_);
    std::swap(dz_, d_hebbian_);  // what the update of step t gave to z[t], to add to
    std::fill_n(d_hebbian_, S * plan_.row, T(0));
  }

  // The gradient of z[t] is complete: that of x[t], and what h[t-1] gets of it.
  void finish_step(int64_t t) {
    for (int s = 0; s < S; ++s) {
      const T* dz = dz_ + s * plan_.row;
      if (p_.grad_x != nullptr) {
        std::copy_n(dz, plan_.inputs,
                    p_.grad_x + (t * f_.extent.batch + first_ + s) * plan_.inputs);
      }
      const bool reset = is_reset(t, s);
      for (int64_t i = 0; i < plan_.hidden; ++i) {
        dh_[i * S + s] = reset ? T(0) : dz[plan_.inputs + i];
      }
    }
  }

  // One row on its way into step t: what is fixed along it, and the sums over it.
  struct Into {
    V h[S], inverse[S], scale[S];
    V along_h[S], along_norm[S];
    V bound, bound_before;
    const T* before;  // F before the update, raw
  };

  HWY_INLINE void begin_into(D d, int64_t t, int64_t i, Into& into) {
    into.bound = hn::Set(d, static_cast<T>(f_.variant.clamp));
    into.bound_before = hn::Set(d, seen_bound(t));
    into.before = seen(t) + i * S * plan_.row;
    for (int s = 0; s < S; ++s) {
      const int64_t unit = i * S + s;
      into.h[s] = hn::Set(d, h_[unit]);
      into.inverse[s] = hn::Set(d, inverse_norm(t)[unit]);
      into.scale[s] = hn::Set(d, seen_scale(t)[unit]);
      into.along_h[s] = into.along_norm[s] = hn::Zero(d);
    }
  }

  // From the gradient of the clamped new F to that of the unclamped one, which is returned; adds to
  // all that it touches.
  HWY_INLINE V into_step(D d, Into& into, int s, int64_t j, V raw, V d_new, V l, V g, V& d_lambda,
                         V& d_gamma) {
    const int64_t at = s * plan_.row + j;
    if constexpr (kClamp) d_new = hn::IfThenElseZero(hn::Le(hn::Abs(raw), into.bound), d_new);
    const V z = hn::Load(d, hebbian_ + at);
    const V learnt = hn::Mul(d_new, g);
    into.along_h[s] = hn::MulAdd(learnt, z, into.along_h[s]);
    if (j >= first_dz_) {
      hn::Store(hn::MulAdd(learnt, into.h[s], hn::Load(d, d_hebbian_ + at)), d, d_hebbian_ + at);
    }
    d_gamma = hn::MulAdd(hn::Mul(d_new, into.h[s]), z, d_gamma);
    const V before = finished(hn::Load(d, into.before + at), into.bound_before, into.scale[s]);
    V decayed = hn::Mul(d_new, before);
    if constexpr (kPre) {
      decayed = hn::Mul(decayed, into.inverse[s]);
      into.along_norm[s] = hn::MulAdd(decayed, l, into.along_norm[s]);
    }
    d_lambda = hn::Add(d_lambda, decayed);
    return d_new;
  }

  HWY_INLINE void finish_into(D d, int64_t i, const Into& into) {
    sums_of_lanes<S>(d, into.along_h, along_h_ + i * S);
    if constexpr (kPre) sums_of_lanes<S>(d, into.along_norm, along_norm_ + i * S);
  }

  static HWY_INLINE void add_to(D d, V value, T* HWY_RESTRICT sum) {
    hn::Store(hn::Add(hn::Load(d, sum), value), d, sum);
  }

  // back(t) if kBack, then into(t-1) if kInto, for all rows.
  template <bool kBack, bool kInto>
  void sweep(int64_t t) {
    for (int64_t i = 0; i < plan_.hidden; ++i) row<kBack, kInto>(t, i);
  }

  template <bool kBack, bool kInto>
  HWY_INLINE void row(int64_t t, int64_t i) {
    const D d;
    const int64_t length = plan_.row;
    const int64_t unit = i * S;
    const T* HWY_RESTRICT W = parameters_.weight + i * length;
    const T* HWY_RESTRICT lambda = parameters_.lambda + i * length;
    const T* HWY_RESTRICT gamma = parameters_.gamma + i * length;
    const T* HWY_RESTRICT A = seen(t) + unit * length;
    T* HWY_RESTRICT dF_row = dF_ + unit * length;
    const V bound = hn::Set(d, seen_bound(t));
    V scale[S], inverse[S], per_z[S], per_G[S], keep[S], along_F[S];
    for (int s = 0; s < S; ++s) {
      scale[s] = hn::Set(d, seen_scale(t)[unit + s]);
      inverse[s] = hn::Set(d, kBack ? inverse_norm(t)[unit + s] : T(1));
      per_z[s] = hn::Set(d, per_z_[unit + s]);
      per_G[s] = hn::Set(d, per_G_[unit + s]);
      keep[s] = hn::Set(d, kBack && is_reset(t, s) ? T(0) : T(1));
      along_F[s] = hn::Zero(d);
    }
    Into into;
    if constexpr (kInto) begin_into(d, t - 1, i, into);
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      const V w = hn::Load(d, W + j);
      const V l = hn::Load(d, lambda + j);
      const V g = hn::Load(d, gamma + j);
      V d_weight = hn::Zero(d);
      V d_lambda = hn::Zero(d);
      V d_gamma = hn::Zero(d);
      for (int s = 0; s < S; ++s) {
        const int64_t at = s * length + j;
        const V raw = hn::Load(d, A + at);
        V dF = hn::Load(d, dF_row + at);
        if constexpr (kBack) {
          const V G = hn::Add(w, finished(raw, bound, scale[s]));
          V decayed = hn::Mul(dF, l);
          if constexpr (kPre) decayed = hn::Mul(decayed, inverse[s]);
          V dG = hn::Mul(hn::Load(d, z_ + at), per_z[s]);
          if constexpr (kNormed) dG = hn::MulAdd(G, per_G[s], dG);
          d_weight = hn::Add(d_weight, dG);
          dF = hn::Mul(hn::Add(decayed, dG), keep[s]);
          if (j >= first_dz_) add_to(d, hn::Mul(G, per_z[s]), dz_ + at);
        }
        if constexpr (kInto && kPost) {
          along_F[s] = hn::MulAdd(dF, hn::Min(hn::Max(raw, hn::Neg(bound)), bound), along_F[s]);
        } else if constexpr (kInto) {
          dF = into_step(d, into, s, j, raw, dF, l, g, d_lambda, d_gamma);
        }
        hn::Store(dF, d, dF_row + at);
      }
      if constexpr (kBack) add_to(d, d_weight, gradients_.weight + i * length + j);
      if constexpr (kInto && !kPost) {
        add_to(d, d_lambda, gradients_.lambda + i * length + j);
        add_to(d, d_gamma, gradients_.gamma + i * length + j);
      }
    }
    if constexpr (kInto && kPost) through_post_norm(d, t, i, along_F, into);
    if constexpr (kInto) finish_into(d, i, into);
  }

  // The new F is A / m with m = |W + A| of the row (A clamped), so
  //   dA = dF / m - (dF . A) (W + A) / m^3
  // and W gets the second part too. Then into(t-1) as above.
  HWY_INLINE void through_post_norm(D d, int64_t t, int64_t i, const V (&along_F)[S], Into& into) {
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT A = seen(t) + i * S * length;
    T* HWY_RESTRICT dF_row = dF_ + i * S * length;
    alignas(64) T sums[S];
    sums_of_lanes<S>(d, along_F, sums);
    V inverse[S], per_G[S];
    for (int s = 0; s < S; ++s) {
      const T inverse_s = seen_scale(t)[i * S + s];
      const bool no_norm = inverse_s > static_cast<T>(0.5 / kNormFloor);
      inverse[s] = hn::Set(d, inverse_s);
      per_G[s] = hn::Set(d, no_norm ? T(0) : -sums[s] * inverse_s * inverse_s * inverse_s);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      const V w = hn::Load(d, parameters_.weight + i * length + j);
      const V l = hn::Load(d, parameters_.lambda + i * length + j);
      const V g = hn::Load(d, parameters_.gamma + i * length + j);
      V d_weight = hn::Zero(d);
      V d_lambda = hn::Zero(d);
      V d_gamma = hn::Zero(d);
      for (int s = 0; s < S; ++s) {
        const int64_t at = s * length + j;
        const V raw = hn::Load(d, A + at);
        const V clamped = hn::Min(hn::Max(raw, hn::Neg(into.bound)), into.bound);
        const V dG = hn::Mul(hn::Add(w, clamped), per_G[s]);
        d_weight = hn::Add(d_weight, dG);
        const V d_new = hn::MulAdd(hn::Load(d, dF_row + at), inverse[s], dG);
        hn::Store(into_step(d, into, s, j, raw, d_new, l, g, d_lambda, d_gamma), d, dF_row + at);
      }
      add_to(d, d_weight, gradients_.weight + i * length + j);
      add_to(d, d_lambda, gradients_.lambda + i * length + j);
      add_to(d, d_gamma, gradients_.gamma + i * length + j);
    }
  }

  const StpnRecurrentBackward<T>& p_;
  const StpnRecurrentForward<T>& f_;
  const PaddedParameters<T>& parameters_;
  const Plan& plan_;
  const int64_t first_;
  const Kept<T> kept_;
  const ParameterGradients<T>& gradients_;
  const int64_t first_dz_;  // sources before this one need no gradient
  int64_t begin_ = 0;       // first step of the replayed interval
  T* const A_;              // F of the interval as its steps see it, raw, and one more
  T* const dF_;             // gradient of F[t-1], or of A[t] between the two halves of a step
  T* const z_;              // drive of step t
  T* const hebbian_;        // presynaptic term of the step that is gone into
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
