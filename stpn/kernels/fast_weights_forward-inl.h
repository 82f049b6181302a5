// A step forward of fast weights, for a group of samples. Compiled once a target.

#if defined(STPN_KERNELS_FAST_WEIGHTS_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_FORWARD_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_FORWARD_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <utility>

#include "stpn/kernels/fast_weights_layout.h"
#include "stpn/kernels/layer_norm-inl.h"
#include "stpn/kernels/plastic_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass over W and, for the first inner step, one over A that updates it before its use; a pass
// over A for each further inner step.
template <class Layout, bool kEnergy>
class FastWeightsForwardStep
    : public ForwardGroup<FastWeightsForwardStep<Layout, kEnergy>, Layout> {
  using Loop = ForwardGroup<FastWeightsForwardStep, Layout>;
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

 public:
  static int64_t scratch(const Plan& plan) { return 2 * plan.presynaptic(S) + 8 * plan.units(S); }

  FastWeightsForwardStep(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
                         const FastWeightsForward<T>& call, const PaddedMatrices<T>& parameters)
      : Loop(plan, first, kept, call, scratch),
        call_(call),
        parameters_(parameters),
        h_rows_(scratch.take(plan.presynaptic(S))),
        s_rows_(scratch.take(plan.presynaptic(S))),
        h_(scratch.take(plan.units(S))),
        s_(scratch.take(plan.units(S))),
        slow_(scratch.take(plan.units(S))),
        sums_(scratch.take(plan.units(S))),
        spent_(scratch.take(plan.units(S))),
        gain_(scratch.take(plan.units(S))),
        offset_(scratch.take(plan.units(S))),
        ones_(scratch.take(plan.units(S))) {}

  void begin() {
    this->copy_in(call_.initial_A, plan_.hidden, 0, this->matrix(0));
    this->units_in(call_.initial_h, 0, h_);
    this->units_to_sources(h_, 0, h_rows_);
    if (!call_.variant.layer_norm) return;
    for (int64_t k = 0; k < plan_.hidden * S; ++k) {
      gain_[k] = call_.layer_norm_weight[k / S];
      offset_[k] = call_.layer_norm_bias[k / S];
      ones_[k] = T(1);
    }
  }

  void forget(int s) {
    this->clear_sources(s, plan_.sources, 0, h_rows_);
    for (int64_t i = 0; i < plan_.hidden; ++i) h_[i * S + s] = T(0);
  }

  void forward(int64_t t) {
    this->units_in(call_.drive, t, slow_);
    std::fill_n(spent_, plan_.units(S), T(0));
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) slow_rows(i);
    activate_units(t, 0);
    for (int64_t k = 1; k <= call_.variant.inner_steps; ++k) {
      for (int64_t i = 0; i < plan_.rows(S); i += kRows) {
        k == 1 ? fast_rows<true>(i) : fast_rows<false>(i);
      }
      activate_units(t, k);
    }
    this->units_out(s_, t, call_.output);
    if constexpr (kEnergy) this->units_out(spent_, t, call_.energy);
    std::swap(h_, s_);
    std::swap(h_rows_, s_rows_);
  }

  void end() { this->copy_out(this->matrix(0), plan_.hidden, 0, call_.final_A); }

 private:
  // sums = W h
  HWY_INLINE void slow_rows(int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = parameters_.row(kSlowWeight, i);
    const T* HWY_RESTRICT h_rows = h_rows_;
    V sums[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) sums[q] = hn::Zero(d);
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const V h = hn::Load(d, h_rows + layout.source(v, j));
        STPN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          sums[r * kVectors + v] = hn::MulAdd(layout.parameter(W, r, j), h, sums[r * kVectors + v]);
        }
      }
    }
    Layout::store_sums(sums, sums_ + i * S);
  }

  // sums = A s, after the update of A if kUpdate.
  template <bool kUpdate>
  HWY_INLINE void fast_rows(int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT h_rows = h_rows_;
    const T* HWY_RESTRICT s_rows = s_rows_;
    T* HWY_RESTRICT A = this->matrix(0) + this->row_of(i);
    const V decay = hn::Set(d, static_cast<T>(call_.variant.decay));
    const V rate = hn::Set(d, static_cast<T>(call_.variant.rate));
    V learnt[kLanes], sums[kLanes], spent[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      learnt[q] = hn::Mul(rate, layout.unit(h_ + i * S, q));
      sums[q] = spent[q] = hn::Zero(d);
    }
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const V h = hn::Load(d, h_rows + layout.source(v, j));
        const V activity = hn::Load(d, s_rows + layout.source(v, j));
        STPN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const int q = r * kVectors + v;
          V a = hn::Load(d, A + layout.synapse(q, j));
          if constexpr (kUpdate) {
            a = hn::MulAdd(learnt[q], h, hn::Mul(decay, a));
            hn::Store(a, d, A + layout.synapse(q, j));
          }
          sums[q] = hn::MulAdd(a, activity, sums[q]);
          if constexpr (kEnergy) {
            spent[q] = hn::MulAdd(hn::Abs(a), hn::Mul(activity, activity), spent[q]);
          }
        }
      }
    }
    Layout::store_sums(sums, sums_ + i * S);
    if constexpr (kEnergy) {
      alignas(64) T step[kRows * S];
      Layout::store_sums(spent, step);
      for (int k = 0; k < kRows * S; ++k) spent_[i * S + k] += step[k];
    }
  }

  // s = tanh(LN(p + sums)) of all units at once, and what backward needs of it. The sums that
  // complete p itself are those of k = 0.
  void activate_units(int64_t t, int64_t k) {
    const D d;
    const int64_t units = plan_.units(S);
    const int64_t kept = k * kept_per_activity(call_.variant);
    for (int64_t unit = 0; unit < units; unit += hn::Lanes(d)) {
      const V u = hn::Add(hn::Load(d, slow_ + unit), hn::Load(d, sums_ + unit));
      if (k == 0) hn::Store(u, d, slow_ + unit);
      hn::Store(u, d, s_ + unit);
    }
    if (call_.variant.layer_norm) {
      const auto inverse = normalise<T, S>(plan_, ones_, s_);
      for (int64_t unit = 0; unit < units; unit += hn::Lanes(d)) {
        const V u = hn::Load(d, s_ + unit);
        if (kept_) {
          hn::StoreU(u, d, kept_.units(t, kept + kKeptNormalised) + unit);
          hn::StoreU(inverse.at(unit), d, kept_.units(t, kept + kKeptInverseDeviation) + unit);
        }
        hn::Store(hn::MulAdd(u, hn::Load(d, gain_ + unit), hn::Load(d, offset_ + unit)), d,
                  s_ + unit);
      }
    }
    for (int64_t unit = 0; unit < units; unit += hn::Lanes(d)) {
      const V s = hn::Tanh(d, hn::Load(d, s_ + unit));
      hn::Store(s, d, s_ + unit);
      if (kept_) hn::StoreU(s, d, kept_.units(t, kept + kKeptActivity) + unit);
    }
    this->units_to_sources(s_, 0, s_rows_);
  }

  const FastWeightsForward<T>& call_;
  const PaddedMatrices<T>& parameters_;
  T* h_rows_;  // h before the step
  T* s_rows_;
  T* h_;
  T* s_;
  T* const slow_;  // drive, then p
  T* const sums_;
  T* const spent_;
  T* const gain_;
  T* const offset_;
  T* const ones_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
