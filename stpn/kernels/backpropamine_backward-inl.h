// A step back of Backpropamine, for a group of samples. Compiled once a target.
//
// Step t goes back in two halves:
//   into(t):  from dP[t] and dE[t] through the update to those before it, and the sums over a row
//             that h[t] and m[t] need
//   back(t):  from du[t] through the drive: dP[t-1], dw, dalpha, dh[t-1]
// back(t) and into(t-1) of a row share one pass over it. Replay uses the h and m that forward kept:
// no dot product or activation is computed again.

#if defined(STPN_KERNELS_BACKPROPAMINE_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_BACKWARD_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_BACKWARD_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "stpn/kernels/backpropamine_step-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T, int S, bool kPlain, bool kTrace>
class ModulatedBackward : public BackwardGroup<ModulatedBackward<T, S, kPlain, kTrace>, T, S> {
  using Loop = BackwardGroup<ModulatedBackward, T, S>;
  using Loop::is_reset;
  using Loop::kept_;
  using Loop::kRows;
  using Loop::plan_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::V;
  // Rows that go together: kRows units of S samples.
  static constexpr int kLanes = kRows * S;

 public:
  // The clamp's gradient computes what it bounds again, from what it does see.
  static constexpr bool kSeesNext = false;

  static int64_t scratch(const Plan& plan) {
    return 4 * S * plan.row + 6 * plan.units(S) + Plan::padded(S);
  }

  // Adds to `gradients`.
  ModulatedBackward(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
                    const BackpropamineBackward<T>& call, const PaddedMatrices<T>& parameters,
                    const GradientSums<T>& gradients)
      : Loop(plan, first, kept, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters),
        gradients_(gradients),
        z_(scratch.take(S * plan.row)),
        hebbian_(scratch.take(S * plan.row)),
        dz_(scratch.take(S * plan.row)),
        d_hebbian_(scratch.take(S * plan.row)),
        h_(scratch.take(plan.units(S))),
        dh_(scratch.take(plan.units(S))),
        du_(scratch.take(plan.units(S))),
        along_h_(scratch.take(plan.units(S))),
        along_m_(scratch.take(plan.units(S))),
        along_rate_(scratch.take(plan.units(S))),
        m_(scratch.take(S)) {}

  void begin() {
    this->copy_in(call_.grad_final_P, plan_.hidden, 0, this->d_matrix(kP));
    if constexpr (kTrace) this->copy_in(call_.grad_final_E, plan_.hidden, 0, this->d_matrix(kE));
  }

  void end() {
    this->copy_out(this->d_matrix(kP), plan_.hidden, 0, call_.grad_initial_P);
    if constexpr (kTrace) {
      this->copy_out(this->d_matrix(kE), plan_.hidden, 0, call_.grad_initial_E);
    }
    if (call_.grad_initial_h != nullptr) this->units_out(dh_, 0, call_.grad_initial_h);
  }

  void replay(int64_t t) {
    load_update(t);
    for (int64_t unit = 0; unit < plan_.rows(S) * S; ++unit) replay_row(t, unit);
  }

  void enter(int64_t end) {
    load_update(end - 1);
    sweep<false, true>(end);
  }

  void back(int64_t t, bool more) {
    load_drive(t);
    if (more) load_update(t - 1);
    if (more && !this->any_reset(t)) {
      sweep<true, true>(t);
    } else {
      sweep<true, false>(t);
      for (int s = 0; s < S; ++s) {
        if (is_reset(t, s)) this->clear_sample(this->d_matrix(kP), s);
      }
      if (more) sweep<false, true>(t);
    }
    for (int s = 0; s < S; ++s) {
      const bool cut = is_reset(t, s);
      for (int64_t i = 0; i < plan_.hidden; ++i) {
        dh_[i * S + s] = cut ? T(0) : dz_[s * plan_.row + i];
      }
    }
  }

 private:
  // What the update of step t reads: h[t], h[t-1] (zero after a reset) and m.
  void load_update(int64_t t) {
    this->units_in(forward_.output, t, h_);
    for (int s = 0; s < S; ++s) {
      T* HWY_RESTRICT to = hebbian_ + s * plan_.row;
      if (is_reset(t, s)) {
        std::fill_n(to, plan_.hidden, T(0));
      } else {
        const T* from = t > 0 ? forward_.output + this->place(t - 1, s, plan_.hidden)
                              : forward_.initial_h + this->place(0, s, plan_.hidden);
        std::copy_n(from, plan_.hidden, to);
      }
      m_[s] =
          forward_.variant.has_modulator() ? kept_.units(t, kKeptModulator)[s] : forward_.rate[0];
    }
  }

  // Row i of one sample, i * S + s.
  HWY_INLINE void replay_row(int64_t t, int64_t unit) {
    const D d;
    const int64_t first = unit * plan_.row;
    const T* HWY_RESTRICT hebbian = hebbian_ + unit % S * plan_.row;
    const T* HWY_RESTRICT P = this->seen(t, kP) + first;
    T* HWY_RESTRICT new_P = this->seen(t + 1, kP) + first;
    const SynapseUpdate<T, kPlain> update(forward_);
    const V h = hn::Set(d, h_[unit]);
    const V m = hn::Set(d, m_[unit % S]);
    for (int64_t j = 0; j < plan_.row; j += hn::Lanes(d)) {
      V learnt = hn::Mul(h, hn::Load(d, hebbian + j));
      if constexpr (kTrace) {
        const V e = hn::Load(d, this->seen(t, kE) + first + j);
        hn::Store(update.trace(e, learnt), d, this->seen(t + 1, kE) + first + j);
        learnt = e;
      }
      hn::Store(update.updated(hn::Load(d, P + j), m, learnt), d, new_P + j);
    }
  }

  // What back(t) reads: from the gradients of h[t] and m[t] to that of u[t], for all units at once.
  void load_drive(int64_t t) {
    const D d;
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden && call_.grad_output != nullptr; ++i) {
        dh_[i * S + s] += call_.grad_output[this->place(t, s, plan_.hidden) + i];
      }
    }
    back_through_modulator();
    for (int64_t k = 0; k < plan_.units(S); k += hn::Lanes(d)) {
      const V dh = hn::Add(hn::Load(d, dh_ + k), hn::Load(d, along_h_ + k));
      const V slope = activation_slope(d, Activation::tanh, hn::Load(d, h_ + k));
      hn::Store(hn::Mul(dh, slope), d, du_ + k);
    }
    if (call_.grad_drive != nullptr) this->units_out(du_, t, call_.grad_drive);
    std::swap(z_, hebbian_);
    std::swap(dz_, d_hebbian_);  // what the update of step t gave to h[t-1], to add to
    std::fill_n(d_hebbian_, S * plan_.row, T(0));
  }

  void back_through_modulator() {
    const bool modulated = forward_.variant.has_modulator();
    T dm[S] = {};
    T d_rate = T(0);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) dm[s] += along_m_[i * S + s];
    }
    for (int64_t unit = 0; unit < plan_.hidden * S && kTrace; ++unit) d_rate += along_rate_[unit];
    T du[S];
    for (int s = 0; s < S; ++s) {
      if (!modulated) d_rate += dm[s];
      du[s] = dm[s] * kernels::activation_slope(forward_.variant.modulator_activation(), m_[s]);
    }
    gradients_.vector(kRate)[0] += d_rate;
    if (!modulated) return;
    for (int s = 0; s < S; ++s) gradients_.vector(kModulatorBias)[0] += du[s];
    T* HWY_RESTRICT d_weight = gradients_.vector(kModulatorWeight);
    const T* HWY_RESTRICT h = h_;
    T* HWY_RESTRICT dh = dh_;
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      T sum = d_weight[i];
      for (int s = 0; s < S; ++s) {
        sum += du[s] * h[i * S + s];
        dh[i * S + s] += du[s] * forward_.modulator_weight[i];
      }
      d_weight[i] = sum;
    }
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
    const int64_t first = i * S * length;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT alpha = parameters_.row(kAlpha, i);
    T* HWY_RESTRICT sum_weight = gradients_.matrix(kWeight) + i * length;
    T* HWY_RESTRICT sum_alpha = gradients_.matrix(kAlpha) + i * length;
    T* HWY_RESTRICT dP_rows = this->d_matrix(kP) + first;
    [[maybe_unused]] T* HWY_RESTRICT dE_rows = kTrace ? this->d_matrix(kE) + first : nullptr;
    const SynapseUpdate<T, kPlain> update(forward_);
    V du[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      du[q] = hn::Set(d, du_[i * S + q]);
    }
    [[maybe_unused]] const T* HWY_RESTRICT P_rows = this->seen(t, kP) + first;
    const T* HWY_RESTRICT z = z_;
    T* HWY_RESTRICT dz = dz_;
    T* HWY_RESTRICT d_hebbian = d_hebbian_;
    Into into;
    if constexpr (kInto) into.begin(*this, t - 1, i);
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V w = hn::Load(d, W + r * length + j);
        const V a = hn::Load(d, alpha + r * length + j);
        V d_weight = hn::Zero(d);
        V d_alpha = hn::Zero(d);
        STPN_UNROLL
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          const int64_t at = q * length + j;
          V dP = hn::Load(d, dP_rows + at);
          V dE = kTrace ? hn::Load(d, dE_rows + at) : hn::Zero(d);
          if constexpr (kBack) {
            const V P = hn::Load(d, P_rows + at);
            const V dG = hn::Mul(hn::Load(d, z + s * length + j), du[q]);
            d_weight = hn::Add(d_weight, dG);
            d_alpha = hn::MulAdd(dG, P, d_alpha);
            T* at_dz = dz + s * length + j;
            hn::Store(hn::MulAdd(hn::MulAdd(a, P, w), du[q], hn::Load(d, at_dz)), d, at_dz);
            dP = hn::MulAdd(dG, a, dP);
          }
          if constexpr (kInto) into.step(d_hebbian + s * length + j, update, q, j, dP, dE);
          hn::Store(dP, d, dP_rows + at);
          if constexpr (kTrace) hn::Store(dE, d, dE_rows + at);
        }
        if constexpr (kBack) {
          add_to(d, d_weight, sum_weight + r * length + j);
          add_to(d, d_alpha, sum_alpha + r * length + j);
        }
      }
    }
    if constexpr (kInto) into.finish(*this, i);
  }

  // Rows i to i + kRows on their way into step t: what is fixed along them, and the sums over them.
  struct Into {
    HWY_INLINE void begin(const ModulatedBackward& group, int64_t t, int64_t i) {
      const D d;
      row = group.plan_.row;
      hebbian = group.hebbian_;
      P = group.seen(t, kP) + i * S * row;
      if constexpr (kTrace) E = group.seen(t, kE) + i * S * row;
      STPN_UNROLL
      for (int s = 0; s < S; ++s) m[s] = hn::Set(d, group.m_[s]);
      STPN_UNROLL
      for (int q = 0; q < kLanes; ++q) {
        h[q] = hn::Set(d, group.h_[i * S + q]);
        along_hebbian[q] = along_m[q] = along_rate[q] = hn::Zero(d);
      }
    }

    // From the gradients of P and E after the update to those before it; adds to all that it
    // touches.
    HWY_INLINE void step(T* HWY_RESTRICT d_hebbian, const SynapseUpdate<T, kPlain>& update, int q,
                         int64_t j, V& dP, V& dE) {
      const D d;
      const int s = q % S;
      const V before = hn::Load(d, hebbian + s * row + j);
      const V learnt = hn::Mul(h[q], before);
      const V p = hn::Load(d, P + q * row + j);
      V d_learnt;
      if constexpr (kTrace) {
        const V e = hn::Load(d, E + q * row + j);
        const V d_delta = update.back(p, m[s], e, dP, along_m[q]);
        along_m[q] = hn::MulAdd(d_delta, e, along_m[q]);
        d_learnt = update.back_trace(e, learnt, dE, along_rate[q]);
        dE = hn::MulAdd(d_delta, m[s], dE);
      } else {
        d_learnt = update.back(p, m[s], learnt, dP, along_m[q]);
      }
      along_hebbian[q] = hn::MulAdd(d_learnt, before, along_hebbian[q]);
      if constexpr (!kTrace) d_learnt = hn::Mul(d_learnt, m[s]);
      hn::Store(hn::MulAdd(d_learnt, h[q], hn::Load(d, d_hebbian)), d, d_hebbian);
    }

    HWY_INLINE void finish(const ModulatedBackward& group, int64_t i) {
      const D d;
      T* HWY_RESTRICT along_h = group.along_h_ + i * S;
      sums_of_lanes<kLanes>(d, along_hebbian, along_h);
      sums_of_lanes<kLanes>(d, along_m, group.along_m_ + i * S);
      if constexpr (kTrace) {
        sums_of_lanes<kLanes>(d, along_rate, group.along_rate_ + i * S);
        return;
      }
      // Both m and h multiply the same sum.
      for (int q = 0; q < kLanes; ++q) {
        group.along_m_[i * S + q] += along_h[q] * group.h_[i * S + q];
        along_h[q] *= group.m_[q % S];
      }
    }

    int64_t row;
    const T* HWY_RESTRICT hebbian;
    const T* HWY_RESTRICT P;
    const T* HWY_RESTRICT E;
    V m[S], h[kLanes];
    V along_hebbian[kLanes];  // of the gradient of D (without a trace: of m D) times h[t-1]
    V along_m[kLanes], along_rate[kLanes];
  };

  const BackpropamineBackward<T>& call_;
  const BackpropamineForward<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const GradientSums<T>& gradients_;
  T* z_;                 // h[t-1], what drives step t
  T* hebbian_;           // the same of the step that is gone into
  T* dz_;                // gradient of z
  T* d_hebbian_;         // gradient of hebbian
  T* const h_;           // of the step that is gone into
  T* const dh_;          // gradient of h, but for along_h_
  T* const du_;          // gradient of the drive
  T* const along_h_;     // the update's part of the gradient of h
  T* const along_m_;     // summed over units, the gradient of m
  T* const along_rate_;  // and that of the trace's rate
  T* const m_;           // of the step that is gone into
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
