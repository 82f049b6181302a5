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
  // What the last step makes is asked for only by the clamp and the norm after
  // it.
  // Only the clamp and the norm after it ask for what an update made.
  static constexpr bool kSeesNext = kClamp || kPost;

  static int64_t scratch(const Plan& plan) {
    return plan.interval * (2 * S * plan.row + plan.units(S)) + 2 * S * plan.row +
           7 * plan.units(S) +
           plan.padded(inside_bytes(plan) * (plan.interval + 1) / sizeof(T) + 8);
  }

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
        z_(scratch.take(plan.interval * S * plan.row)),
        hebbian_(scratch.take(plan.interval * S * plan.row)),
        h_(scratch.take(plan.interval * plan.units(S))),
        dz_(scratch.take(S * plan.row)),
        d_hebbian_(scratch.take(S * plan.row)),
        dh_(scratch.take(plan.units(S))),
        along_h_(scratch.take(plan.units(S))),
        along_norm_(scratch.take(plan.units(S))),
        per_z_(scratch.take(plan.units(S))),
        per_G_(scratch.take(plan.units(S))),
        d_bias_(scratch.take(plan.units(S))),
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
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) replay_rows(t, i);
  }

  void enter(int64_t end) {
    if (!kSeesNext) load(end - 1);
    sweep<false, true>(end);
  }

  void back(int64_t t, bool more) {
    load_drive(t);
    if (more && !this->any_reset(t)) {
      sweep<true, true>(t);
    } else {
      sweep<true, false>(t);
      for (int s = 0; s < S; ++s) {
        if (is_reset(t, s)) this->clear_sample(this->d_matrix(0), s);
      }
      if (more) sweep<false, true>(t);
    }
    store_presynaptic(t);
  }

 private:
  // One bit a synapse, a byte or more a vector: whether the clamp left the new F as it was.
  static int64_t inside_bytes(const Plan& plan) {
    const D d;
    return plan.matrix(S) / hn::Lanes(d) * inside_stride(d);
  }
  static HWY_INLINE int64_t inside_stride(D d) { return (hn::Lanes(d) + 7) / 8; }
  // Of row i of the F that step t sees.
  uint8_t* inside(int64_t t, int64_t i) const {
    const D d;
    return inside_ + this->within(t) * inside_bytes(plan_) +
           i * S * plan_.row / hn::Lanes(d) * inside_stride(d);
  }

  const T* inverse_norm(int64_t t) const {
    return kNormed ? kept_.units(t, kKeptInverseNorm) : ones_;
  }
  // Activity of the interval's steps: what drives a step, the presynaptic term
  // of its update, and h.
  T* z(int64_t t) const { return z_ + this->within(t) * S * plan_.row; }
  T* hebbian(int64_t t) const {
    return current_ ? hebbian_ + this->within(t) * S * plan_.row : z(t);
  }
  T* h(int64_t t) const { return h_ + this->within(t) * plan_.units(S); }

  void load(int64_t t) {
    load_presynaptic(t, false, z(t));
    if (current_) load_presynaptic(t, true, hebbian(t));
    this->units_in(forward_.output, t, h(t));
  }

  // z of step t; its recurrent part is h[t] (current) or h[t-1], zero after a
  // reset.
  void load_presynaptic(int64_t t, bool current, T* z) const {
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
    const T* HWY_RESTRICT hebbian = this->hebbian(t);
    const T* HWY_RESTRICT before = this->seen(t) + i * S * length;
    T* HWY_RESTRICT after = this->seen(t + 1) + i * S * length;
    uint8_t* HWY_RESTRICT inside = kClamp ? this->inside(t + 1, i) : nullptr;
    const V bound = hn::Set(d, static_cast<T>(forward_.variant.clamp));
    V h[kLanes], scale[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      const int64_t unit = i * S + q;
      h[q] = hn::Set(d, this->h(t)[unit]);
      if constexpr (kPre) scale[q] = hn::Set(d, inverse_norm(t)[unit]);
      if constexpr (kPost) scale[q] = hn::Set(d, kept_.units(t, kKeptInversePostNorm)[unit]);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V l = hn::Load(d, lambda + r * length + j);
        const V g = hn::Load(d, gamma + r * length + j);
        STPN_UNROLL
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          V old = hn::Mul(l, hn::Load(d, before + q * length + j));
          if constexpr (kPre) old = hn::Mul(old, scale[q]);
          const V learnt = hn::Mul(g, hn::Load(d, hebbian + s * length + j));
          V F = hn::MulAdd(learnt, h[q], old);
          if constexpr (kClamp) {
            hn::StoreMaskBits(d, hn::Le(hn::Abs(F), bound),
                              inside + (q * length + j) / hn::Lanes(d) * inside_stride(d));
            F = hn::Min(hn::Max(F, hn::Neg(bound)), bound);
          }
          if constexpr (kPost) F = hn::Mul(F, scale[q]);
          hn::Store(F, d, after + q * length + j);
        }
      }
    }
  }

  // What back(t) reads: from the gradient of h[t] to those of u[t] and n[t],
  // for all units at once.
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
      const V slope = activation_slope(d, forward_.variant.activation, hn::Load(d, h(t) + k));
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
    V h[kLanes], inverse[kLanes];
    V along_h[kLanes], along_norm[kLanes];
    const T* HWY_RESTRICT before;  // F before the update
    const uint8_t* HWY_RESTRICT inside;
    const T* HWY_RESTRICT hebbian;
    T* HWY_RESTRICT d_hebbian;
    int64_t length, first_dz;
  };

  HWY_INLINE void begin_into(D d, int64_t t, int64_t i, Into& into) {
    into.before = this->seen(t) + i * S * plan_.row;
    into.inside = kClamp ? inside(t + 1, i) : nullptr;
    into.hebbian = hebbian(t);
    into.d_hebbian = d_hebbian_;
    into.length = plan_.row;
    into.first_dz = first_dz_;
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      const int64_t unit = i * S + q;
      into.h[q] = hn::Set(d, h(t)[unit]);
      into.inverse[q] = hn::Set(d, inverse_norm(t)[unit]);
      into.along_h[q] = into.along_norm[q] = hn::Zero(d);
    }
  }

  // From the gradient of the clamped new F to that of the unclamped one, which is returned; adds to
  // all that it touches.
  static HWY_INLINE V into_step(D d, Into& into, int q, int64_t j, V d_new, V l, V g, V& d_lambda,
                                V& d_gamma) {
    const int64_t at = q % S * into.length + j;
    if constexpr (kClamp) {
      const int64_t vector = (q * into.length + j) / hn::Lanes(d);
      d_new =
          hn::IfThenElseZero(hn::LoadMaskBits(d, into.inside + vector * inside_stride(d)), d_new);
    }
    const V z = hn::Load(d, into.hebbian + at);
    const V learnt = hn::Mul(d_new, g);
    into.along_h[q] = hn::MulAdd(learnt, z, into.along_h[q]);
    if (j >= into.first_dz) {
      hn::Store(hn::MulAdd(learnt, into.h[q], hn::Load(d, into.d_hebbian + at)), d,
                into.d_hebbian + at);
    }
    d_gamma = hn::MulAdd(hn::Mul(d_new, into.h[q]), z, d_gamma);
    V decayed = hn::Mul(d_new, hn::Load(d, into.before + q * into.length + j));
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
    const T* HWY_RESTRICT F_rows = this->seen(t) + i * S * length;
    T* HWY_RESTRICT dF_rows = this->d_matrix(0) + i * S * length;
    const T* HWY_RESTRICT z = kBack ? this->z(t) : nullptr;
    T* HWY_RESTRICT dz = dz_;
    const int64_t first_dz = first_dz_;
    V inverse[kLanes], per_z[kLanes], per_G[kLanes], along_F[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      const int64_t unit = i * S + q;
      inverse[q] = hn::Set(d, kBack ? inverse_norm(t)[unit] : T(1));
      per_z[q] = hn::Set(d, per_z_[unit]);
      per_G[q] = hn::Set(d, per_G_[unit]);
      along_F[q] = hn::Zero(d);
    }
    Into into;
    if constexpr (kInto) begin_into(d, t - 1, i, into);
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int64_t parameter = r * length + j;
        const V w = hn::Load(d, W + parameter);
        const V l = hn::Load(d, lambda + parameter);
        const V g = hn::Load(d, gamma + parameter);
        V d_weight = hn::Zero(d);
        V d_lambda = hn::Zero(d);
        V d_gamma = hn::Zero(d);
        STPN_UNROLL
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          const int64_t at = q * length + j;
          const V F = hn::Load(d, F_rows + at);
          V dF = hn::Load(d, dF_rows + at);
          if constexpr (kBack) {
            const V G = hn::Add(w, F);
            V decayed = hn::Mul(dF, l);
            if constexpr (kPre) decayed = hn::Mul(decayed, inverse[q]);
            V dG = hn::Mul(hn::Load(d, z + s * length + j), per_z[q]);
            if constexpr (kNormed) dG = hn::MulAdd(G, per_G[q], dG);
            d_weight = hn::Add(d_weight, dG);
            dF = hn::Add(decayed, dG);
            if (j >= first_dz) {
              T* at_dz = dz + s * length + j;
              hn::Store(hn::MulAdd(G, per_z[q], hn::Load(d, at_dz)), d, at_dz);
            }
          }
          if constexpr (kInto && kPost) {
            along_F[q] = hn::MulAdd(dF, F, along_F[q]);
          } else if constexpr (kInto) {
            dF = into_step(d, into, q, j, dF, l, g, d_lambda, d_gamma);
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

  // Norm `post` of step t-1, F = C / m with m = |W + C| and C the clamped new F: first
  //   dC = dF / m - (dF . F) (W + m F) / m^2,
  // of which W gets the second part too; then as without the norm.
  HWY_INLINE void through_post_norm(D d, int64_t t, int64_t i, const V (&along_F)[kLanes],
                                    Into& into) {
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT lambda = parameters_.row(kLambda, i);
    const T* HWY_RESTRICT gamma = parameters_.row(kGamma, i);
    T* HWY_RESTRICT sum_weight = gradients_.matrix(kWeight) + i * length;
    T* HWY_RESTRICT sum_lambda = gradients_.matrix(kLambda) + i * length;
    T* HWY_RESTRICT sum_gamma = gradients_.matrix(kGamma) + i * length;
    const T* HWY_RESTRICT F_rows = this->seen(t) + i * S * length;
    T* HWY_RESTRICT dF_rows = this->d_matrix(0) + i * S * length;
    alignas(64) T sums[kLanes];
    sums_of_lanes<kLanes>(d, along_F, sums);
    V inverse[kLanes], per_W[kLanes], per_F[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      const T inverse_q = kept_.units(t - 1, kKeptInversePostNorm)[i * S + q];
      const bool no_norm = inverse_q >= static_cast<T>(0.5 / kNormFloor);
      inverse[q] = hn::Set(d, inverse_q);
      per_W[q] = hn::Set(d, no_norm ? T(0) : -sums[q] * inverse_q * inverse_q);
      per_F[q] = hn::Set(d, no_norm ? T(0) : -sums[q] * inverse_q);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int64_t parameter = r * length + j;
        const V w = hn::Load(d, W + parameter);
        const V l = hn::Load(d, lambda + parameter);
        const V g = hn::Load(d, gamma + parameter);
        V d_weight = hn::Zero(d);
        V d_lambda = hn::Zero(d);
        V d_gamma = hn::Zero(d);
        STPN_UNROLL
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          const int64_t at = q * length + j;
          const V dG = hn::MulAdd(hn::Load(d, F_rows + at), per_F[q], hn::Mul(w, per_W[q]));
          d_weight = hn::Add(d_weight, dG);
          const V dC = hn::MulAdd(hn::Load(d, dF_rows + at), inverse[q], dG);
          hn::Store(into_step(d, into, q, j, dC, l, g, d_lambda, d_gamma), d, dF_rows + at);
        }
        add_to(d, d_weight, sum_weight + parameter);
        add_to(d, d_lambda, sum_lambda + parameter);
        add_to(d, d_gamma, sum_gamma + parameter);
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
  T* const ones_;
  uint8_t* const inside_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
