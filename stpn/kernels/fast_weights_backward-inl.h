// A step of fast weights backward, for a group of samples. Compiled once a target.
//
// A comes from replaying an interval of steps from its checkpoint, which needs h only; activities
// and layer norms are kept. With du_k the gradient of what tanh(LN()) was taken of for s_k, and D
// that of A[t], from D = decay * D[t+1]:
//   ds_(k-1) = A^T du_k;   D += du_k outer s_(k-1)             k = S .. 1, one pass over A and D
//   each dp = sum of all du_k;   dW += dp outer h[t-1] dh[t-1] = W^T dp + rate * (D h[t-1] + D^T
//   h[t-1])          in the last of those passes

#if defined(STPN_KERNELS_FAST_WEIGHTS_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_BACKWARD_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_BACKWARD_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/fast_weights_layout.h"
#include "stpn/kernels/layer_norm-inl.h"
#include "stpn/kernels/plastic_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout>
class FastWeightsBackwardStep : public BackwardGroup<FastWeightsBackwardStep<Layout>, Layout> {
  using Loop = BackwardGroup<FastWeightsBackwardStep, Layout>;
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

 public:
  static constexpr bool kSeesNext = false;

  static int64_t scratch(const Plan& plan) { return 4 * plan.presynaptic(S) + 9 * plan.units(S); }

  // Adds to `gradients`.
  FastWeightsBackwardStep(const Plan& plan, int64_t first, T* kept, Scratch<T>& scratch,
                          const FastWeightsBackward<T>& call, const PaddedMatrices<T>& parameters,
                          const Gradients<T>& gradients)
      : Loop(plan, first, kept, call.forward.reset, scratch),
        call_(call),
        forward_(call.forward),
        parameters_(parameters),
        gradients_(gradients),
        h_rows_(scratch.take(plan.presynaptic(S))),
        s_rows_(scratch.take(plan.presynaptic(S))),
        dh_rows_(scratch.take(plan.presynaptic(S))),
        ds_rows_(scratch.take(plan.presynaptic(S))),
        h_(scratch.take(plan.units(S))),
        dh_(scratch.take(plan.units(S))),
        ds_(scratch.take(plan.units(S))),
        d_slow_(scratch.take(plan.units(S))),
        along_h_(scratch.take(plan.units(S))),
        d_gain_(scratch.take(plan.units(S))),
        d_offset_(scratch.take(plan.units(S))),
        gain_(scratch.take(plan.units(S))),
        ones_(scratch.take(plan.units(S))) {}

  void begin() {
    this->copy_in(call_.grad_final_A, plan_.hidden, 0, this->d_matrix(0));
    for (int64_t k = 0; k < plan_.hidden * S && forward_.variant.layer_norm; ++k) {
      gain_[k] = forward_.layer_norm_weight[k / S];
      ones_[k] = T(1);
    }
  }

  void end() {
    this->copy_out(this->d_matrix(0), plan_.hidden, 0, call_.grad_initial_A);
    if (call_.grad_initial_h != nullptr) this->units_out(dh_, 0, call_.grad_initial_h);
    for (int64_t k = 0; k < plan_.hidden * S; ++k) {
      gradients_.vector(kGain)[k / S] += d_gain_[k];
      gradients_.vector(kOffset)[k / S] += d_offset_[k];
    }
  }

  void replay(int64_t t) {
    load_before(t + 1);
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) replay_rows(t, i);
  }

  void enter(int64_t /*end*/) {}

  void back(int64_t t, bool /*more*/) {
    load_before(t);
    load_gradient(t);
    for (int64_t k = forward_.variant.inner_steps; k >= 1; --k) {
      back_through_activity(t, k);
      this->units_to_sources(kept_.units(t, kept_of(k - 1) + kKeptActivity), 0, s_rows_);
      std::fill_n(ds_rows_, plan_.presynaptic(S), T(0));
      for (int64_t i = 0; i < plan_.rows(S); i += kRows) {
        k == 1 ? fast_rows<true>(t, i) : fast_rows<false>(t, i);
      }
      this->sources_to_units(ds_rows_, 0, ds_);
    }
    back_through_activity(t, 0);
    for (int64_t i = 0; i < plan_.rows(S); i += kRows) slow_rows(i);
    store_gradient(t);
  }

 private:
  int64_t kept_of(int64_t k) const { return k * kept_per_activity(forward_.variant); }

  // h before step t.
  void load_before(int64_t t) {
    this->activity_before(forward_.initial_h, forward_.output, t, 0, h_rows_);
    this->sources_to_units(h_rows_, 0, h_);
  }

  HWY_INLINE void replay_rows(int64_t t, int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT h_rows = h_rows_;
    const T* HWY_RESTRICT before = this->seen(t) + this->row_of(i);
    T* HWY_RESTRICT after = this->seen(t + 1) + this->row_of(i);
    const V decay = hn::Set(d, static_cast<T>(forward_.variant.decay));
    const V rate = hn::Set(d, static_cast<T>(forward_.variant.rate));
    V learnt[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      learnt[q] = hn::Mul(rate, layout.unit(h_ + i * S, q));
    }
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const V h = hn::Load(d, h_rows + layout.source(v, j));
        STPN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const int64_t at = layout.synapse(r * kVectors + v, j);
          const V old = hn::Mul(decay, hn::Load(d, before + at));
          hn::Store(hn::MulAdd(learnt[r * kVectors + v], h, old), d, after + at);
        }
      }
    }
  }

  // ds of the last activity, and zeros to add to.
  void load_gradient(int64_t t) {
    std::fill_n(ds_, plan_.units(S), T(0));
    if (call_.grad_output != nullptr) this->units_in(call_.grad_output, t, ds_);
    for (int64_t unit = 0; unit < plan_.units(S); ++unit) ds_[unit] += dh_[unit];
    std::fill_n(d_slow_, plan_.units(S), T(0));
    std::fill_n(dh_rows_, plan_.presynaptic(S), T(0));
  }

  // From ds_k, in place, to du_k; adds to dp.
  void back_through_activity(int64_t t, int64_t k) {
    const D d;
    const int64_t units = plan_.units(S);
    const T* activity = kept_.units(t, kept_of(k) + kKeptActivity);
    for (int64_t unit = 0; unit < units; unit += hn::Lanes(d)) {
      const V slope = activation_slope(d, Activation::tanh, hn::LoadU(d, activity + unit));
      hn::Store(hn::Mul(hn::Load(d, ds_ + unit), slope), d, ds_ + unit);
    }
    if (forward_.variant.layer_norm) {
      const T* normalised = kept_.units(t, kept_of(k) + kKeptNormalised);
      for (int64_t unit = 0; unit < units; unit += hn::Lanes(d)) {
        const V ds = hn::Load(d, ds_ + unit);
        const V d_gain =
            hn::MulAdd(ds, hn::LoadU(d, normalised + unit), hn::Load(d, d_gain_ + unit));
        hn::Store(d_gain, d, d_gain_ + unit);
        hn::Store(hn::Add(ds, hn::Load(d, d_offset_ + unit)), d, d_offset_ + unit);
        hn::Store(hn::Mul(ds, hn::Load(d, gain_ + unit)), d, ds_ + unit);
      }
      back_through_normalise<T, S>(plan_, ones_, normalised,
                                   kept_.units(t, kept_of(k) + kKeptInverseDeviation), ds_);
    }
    for (int64_t unit = 0; unit < units; unit += hn::Lanes(d)) {
      hn::Store(hn::Add(hn::Load(d, d_slow_ + unit), hn::Load(d, ds_ + unit)), d, d_slow_ + unit);
    }
  }

  // The pass over A and D of one inner step; kLast: D is complete, goes into dh and decays.
  template <bool kLast>
  HWY_INLINE void fast_rows(int64_t t, int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT h_rows = h_rows_;
    const T* HWY_RESTRICT s_rows = s_rows_;
    T* HWY_RESTRICT dh_rows = dh_rows_;
    T* HWY_RESTRICT ds_rows = ds_rows_;
    const T* HWY_RESTRICT A = this->seen(t) + this->row_of(i);
    T* HWY_RESTRICT dA_rows = this->d_matrix(0) + this->row_of(i);
    const V decay = hn::Set(d, static_cast<T>(forward_.variant.decay));
    const V rate = hn::Set(d, static_cast<T>(forward_.variant.rate));
    V du[kLanes], learnt[kLanes], along_h[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) {
      du[q] = layout.unit(ds_ + i * S, q);
      learnt[q] = hn::Mul(rate, layout.unit(h_ + i * S, q));
      along_h[q] = hn::Zero(d);
    }
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const int64_t source = layout.source(v, j);
        const V h = hn::Load(d, h_rows + source);
        const V activity = hn::Load(d, s_rows + source);
        V dh = hn::Load(d, dh_rows + source);
        V ds = hn::Load(d, ds_rows + source);
        STPN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const int q = r * kVectors + v;
          ds = hn::MulAdd(hn::Load(d, A + layout.synapse(q, j)), du[q], ds);
          V dA = hn::MulAdd(du[q], activity, hn::Load(d, dA_rows + layout.synapse(q, j)));
          if constexpr (kLast) {
            along_h[q] = hn::MulAdd(dA, h, along_h[q]);
            dh = hn::MulAdd(dA, learnt[q], dh);
            dA = hn::Mul(decay, dA);
          }
          hn::Store(dA, d, dA_rows + layout.synapse(q, j));
        }
        hn::Store(ds, d, ds_rows + source);
        if constexpr (kLast) hn::Store(dh, d, dh_rows + source);
      }
    }
    if constexpr (kLast) Layout::store_sums(along_h, along_h_ + i * S);
  }

  // dW and W's part of dh.
  HWY_INLINE void slow_rows(int64_t i) {
    const D d;
    const Layout layout = this->layout_;
    const int64_t width = layout.width;
    const T* HWY_RESTRICT W = parameters_.row(kSlowWeight, i);
    const T* HWY_RESTRICT h_rows = h_rows_;
    T* HWY_RESTRICT dh_rows = dh_rows_;
    T* HWY_RESTRICT sum_weight = gradients_.template rows<Layout>(kSlowWeight, i);
    V dp[kLanes];
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) dp[q] = layout.unit(d_slow_ + i * S, q);
    for (int64_t j = 0; j < width; j += Layout::kStep) {
      V h[kVectors], dh[kVectors];
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        h[v] = hn::Load(d, h_rows + layout.source(v, j));
        dh[v] = hn::Load(d, dh_rows + layout.source(v, j));
      }
      STPN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const V w = layout.parameter(W, r, j);
        V dW = hn::Load(d, sum_weight + layout.gradient(r, j));
        STPN_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          dW = hn::MulAdd(dp[r * kVectors + v], h[v], dW);
          dh[v] = hn::MulAdd(w, dp[r * kVectors + v], dh[v]);
        }
        hn::Store(dW, d, sum_weight + layout.gradient(r, j));
      }
      STPN_UNROLL
      for (int v = 0; v < kVectors; ++v) hn::Store(dh[v], d, dh_rows + layout.source(v, j));
    }
  }

  // The gradients of the drive and of the state before the step are complete.
  void store_gradient(int64_t t) {
    if (call_.grad_drive != nullptr) this->units_out(d_slow_, t, call_.grad_drive);
    this->sources_to_units(dh_rows_, 0, dh_);
    for (int64_t unit = 0; unit < plan_.hidden * S; ++unit) {
      dh_[unit] += static_cast<T>(forward_.variant.rate) * along_h_[unit];
    }
    for (int s = 0; s < S; ++s) {
      if (!is_reset(t, s)) continue;
      for (int64_t i = 0; i < plan_.hidden; ++i) dh_[i * S + s] = T(0);
      this->clear_sample(this->d_matrix(0), s);
    }
  }

  const FastWeightsBackward<T>& call_;
  const FastWeightsForward<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const Gradients<T>& gradients_;
  T* const h_rows_;  // h before the step
  T* const s_rows_;
  T* const dh_rows_;
  T* const ds_rows_;
  T* const h_;
  T* const dh_;
  T* const ds_;      // ds_k, then du_k
  T* const d_slow_;  // dp
  T* const along_h_;
  T* const d_gain_;
  T* const d_offset_;
  T* const gain_;
  T* const ones_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
