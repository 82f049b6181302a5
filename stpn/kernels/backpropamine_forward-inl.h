// A step forward of Backpropamine, for a group of samples. Compiled once a target.

#if defined(STPN_KERNELS_BACKPROPAMINE_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_BACKPROPAMINE_FORWARD_INL_H_
#undef STPN_KERNELS_BACKPROPAMINE_FORWARD_INL_H_
#else
#define STPN_KERNELS_BACKPROPAMINE_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "stpn/kernels/backpropamine_step-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass over P a step: the update of step t-1 waits until the modulator knows all of h[t-1] and
// is made while row by row the drive of step t is summed.
template <typename T, int S, bool kPlain, bool kTrace>
class ModulatedForward : public ForwardGroup<ModulatedForward<T, S, kPlain, kTrace>, T, S> {
  using Loop = ForwardGroup<ModulatedForward, T, S>;
  using Loop::kept_;
  using Loop::kRows;
  using Loop::plan_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::V;
  // Rows that go together: kRows units of S samples.
  static constexpr int kLanes = kRows * S;

 public:
  static int64_t scratch(const Plan& plan) {
    return 2 * S * plan.row + 2 * plan.units(S) + Plan::padded(S);
  }

  ModulatedForward(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
                   const BackpropamineForward<T>& call, const PaddedMatrices<T>& parameters)
      : Loop(plan, first, kept, call.reset, scratch),
        call_(call),
        parameters_(parameters),
        z_(scratch.take(S * plan.row)),
        hebbian_(scratch.take(S * plan.row)),
        h_(scratch.take(plan.units(S))),
        sums_(scratch.take(plan.units(S))),
        m_(scratch.take(S)) {}

  void begin() {
    this->copy_in(call_.initial_P, plan_.hidden, 0, this->matrix(kP));
    if constexpr (kTrace) this->copy_in(call_.initial_E, plan_.hidden, 0, this->matrix(kE));
    this->units_in(call_.initial_h, 0, h_);
  }

  // The update that still waits then leaves P and E zero, whatever was there.
  void forget(int s) {
    std::fill_n(hebbian_ + s * plan_.row, plan_.row, T(0));
    for (int64_t i = 0; i < plan_.hidden; ++i) h_[i * S + s] = T(0);
    m_[s] = T(0);
  }

  void forward(int64_t t) {
    for (int s = 0; s < S; ++s) {
      for (int64_t i = 0; i < plan_.hidden; ++i) z_[s * plan_.row + i] = h_[i * S + s];
    }
    if (t == 0) {
      sweep<false, true>();
    } else {
      sweep<true, true>();
    }
    activate_units(t);
    if (call_.energy != nullptr) measure(t);
    modulate(t);
    std::swap(z_, hebbian_);
  }

  void end() {
    sweep<true, false>();
    this->copy_out(this->matrix(kP), plan_.hidden, 0, call_.final_P);
    if constexpr (kTrace) this->copy_out(this->matrix(kE), plan_.hidden, 0, call_.final_E);
  }

 private:
  template <bool kUpdate, bool kDrive>
  void sweep() {
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) rows<kUpdate, kDrive>(i);
  }

  // Rows i to i + kRows of all samples: the update of step t-1, then (w + alpha P) z of step t.
  template <bool kUpdate, bool kDrive>
  HWY_INLINE void rows(int64_t i) {
    const D d;
    const int64_t length = plan_.row;
    const T* HWY_RESTRICT W = parameters_.row(kWeight, i);
    const T* HWY_RESTRICT alpha = parameters_.row(kAlpha, i);
    const T* HWY_RESTRICT z = z_;
    const T* HWY_RESTRICT hebbian = hebbian_;
    T* HWY_RESTRICT P = this->matrix(kP) + i * S * length;
    [[maybe_unused]] T* HWY_RESTRICT E = kTrace ? this->matrix(kE) + i * S * length : nullptr;
    const SynapseUpdate<T, kPlain> update(call_);
    V h[kLanes], m[S], dot[kLanes];
    STPN_UNROLL
    for (int s = 0; s < S; ++s) m[s] = hn::Set(d, m_[s]);
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      h[q] = hn::Set(d, h_[i * S + q]);
      dot[q] = hn::Zero(d);
    }
    for (int64_t j = 0; j < length; j += hn::Lanes(d)) {
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V w = hn::Load(d, W + r * length + j);
        const V a = hn::Load(d, alpha + r * length + j);
        STPN_UNROLL
        for (int s = 0; s < S; ++s) {
          const int q = r * S + s;
          V p = hn::Load(d, P + q * length + j);
          if constexpr (kUpdate) {
            V learnt = hn::Mul(h[q], hn::Load(d, hebbian + s * length + j));
            if constexpr (kTrace) {
              const V e = hn::Load(d, E + q * length + j);
              hn::Store(update.trace(e, learnt), d, E + q * length + j);
              learnt = e;
            }
            p = update.updated(p, m[s], learnt);
            hn::Store(p, d, P + q * length + j);
          }
          if constexpr (kDrive) {
            const V G = hn::MulAdd(a, p, w);
            dot[q] = hn::MulAdd(G, hn::Load(d, z + s * length + j), dot[q]);
          }
        }
      }
    }
    if constexpr (kDrive) sums_of_lanes<kLanes>(d, dot, sums_ + i * S);
  }

  // h = tanh(drive + (w + alpha P) z) for all units at once.
  void activate_units(int64_t t) {
    const D d;
    this->units_in(call_.drive, t, h_);
    for (int64_t k = 0; k < plan_.units(S); k += hn::Lanes(d)) {
      const V u = hn::Add(hn::Load(d, h_ + k), hn::Load(d, sums_ + k));
      hn::Store(activate(d, Activation::tanh, u), d, h_ + k);
    }
    this->units_out(h_, t, call_.output);
  }

  // A pass of its own: energy is seldom asked for.
  void measure(int64_t t) {
    const D d;
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) {
      STPN_UNROLL
      for (int q = 0; q < kLanes; ++q) {
        const T* HWY_RESTRICT P = this->matrix(kP) + (i * S + q) * plan_.row;
        const T* HWY_RESTRICT W = parameters_.row(kWeight, i + q / S);
        const T* HWY_RESTRICT alpha = parameters_.row(kAlpha, i + q / S);
        V spent = hn::Zero(d);
        for (int64_t j = 0; j < plan_.row; j += hn::Lanes(d)) {
          const V z = hn::Load(d, z_ + q % S * plan_.row + j);
          const V G = hn::MulAdd(hn::Load(d, alpha + j), hn::Load(d, P + j), hn::Load(d, W + j));
          spent = hn::MulAdd(hn::Abs(G), hn::Mul(z, z), spent);
        }
        sums_[i * S + q] = hn::GetLane(hn::SumOfLanes(d, spent));
      }
    }
    this->units_out(sums_, t, call_.energy);
  }

  // m of step t, for the update to come.
  void modulate(int64_t t) {
    if (!call_.variant.has_modulator()) {
      std::fill_n(m_, S, call_.rate[0]);
      return;
    }
    T sums[S];
    std::fill_n(sums, S, call_.modulator_bias[0]);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) sums[s] += call_.modulator_weight[i] * h_[i * S + s];
    }
    std::copy_n(sums, S, m_);
    const D d;
    for (int64_t k = 0; k < Plan::padded(S); k += hn::Lanes(d)) {
      const V m = activate(d, call_.variant.modulator_activation(), hn::Load(d, m_ + k));
      hn::Store(m, d, m_ + k);
    }
    if (kept_) std::copy_n(m_, S, kept_.units(t, kKeptModulator));
  }

  const BackpropamineForward<T>& call_;
  const PaddedMatrices<T>& parameters_;
  T* z_;        // h[t-1], what drives step t
  T* hebbian_;  // h[t-2], what drove step t-1
  T* const h_;
  T* const sums_;
  T* const m_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
