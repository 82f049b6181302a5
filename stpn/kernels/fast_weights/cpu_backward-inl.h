// Fast weights backward, for a group of samples. Compiled once a target.
//
// With du_k the gradient of what tanh(LN()) was taken of for s_k, and D[t] that of A[t]:
//   ds_(k-1) = A[t]^T du_k                                        k = S .. 1
//   dp = sum of all du_k;   dW += dp outer h
//   dh = W^T dp + rate (D[t] + D[t]^T) h,   h before the step
//   D[t] = decay D[t+1] + sum over k of du_k outer s_(k-1)
// D is not brought up to date at each step either: dh needs it symmetric, as E = D + D^T, and
//   E[t] h = decay^m E1 h + sum of decay^(u-t) (du (s . h) + s (du . h))
// over all du_k and s_(k-1) of the block's steps u >= t, with E1 what comes from behind the block.
// The h of a block are known, so E1 h is of all of them at once. A is that of the checkpoint at the
// block's beginning; nothing is replayed.

#if defined(STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/fast_weights/cpu_time_block-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout>
class FastWeightsBackwardGroup : public FastWeightsGroup<Layout> {
  using Base = FastWeightsGroup<Layout>;
  using Base::clear_slots;
  using Base::forward_;
  using Base::history_step_;
  using Base::is_reset;
  using Base::saved_;
  using Base::kVectors;
  using Base::layout_;
  using Base::matrix_row_;
  using Base::plan_;
  using Base::powers_;
  using Base::S;
  using Base::slot;
  using typename Base::D;
  using typename Base::Plan;
  using typename Base::T;
  using typename Base::V;

 public:
  static int64_t zeros(const Plan& plan) {
    const int64_t products = plan.interval * inner_steps(plan);
    return Base::common_scratch(plan, products) + Base::rates(products) + 3 * plan.presynaptic(S) +
           InputProjection<T, S>::scratch(plan);
  }
  static int64_t unwritten(const Plan& plan) {
    return 2 * plan.matrix(S) + 2 * Base::history(plan, plan.interval * inner_steps(plan)) +
           4 * Base::history(plan, plan.interval + 1) + 2 * plan.presynaptic(S);
  }

  // Adds to `gradients`.
  FastWeightsBackwardGroup(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                           const FastWeightsBackwardParams<T>& call,
                           const ProjectedParameters<T>& parameters, const GradientSums<T>& gradients)
      : Base(plan, first, saved, call.forward, plan.interval * inner_steps(plan), scratch),
        call_(call),
        parameters_(parameters.matrices),
        gradients_(gradients),
        inner_(inner_steps(plan)),
        A_starts_at_zero_(this->starts_at_zero()),
        E_(scratch.take_unwritten(plan.matrix(S))),
        D_(scratch.take_unwritten(plan.matrix(S))),
        rates_ahead_(scratch.take(Base::rates(plan.interval * inner_))),
        du_(take_history(scratch, plan.interval * inner_)),
        s_(take_history(scratch, plan.interval * inner_)),
        h_(take_history(scratch, plan.interval + 1)),
        seen_h_(take_history(scratch, plan.interval + 1)),
        dp_(take_history(scratch, plan.interval + 1)),
        later_(take_history(scratch, plan.interval + 1)),
        du_0_(scratch.take_unwritten(plan.presynaptic(S))),
        ds_(scratch.take_unwritten(plan.presynaptic(S))),
        dh_(scratch.take(plan.presynaptic(S))),
        d_gain_(scratch.take(plan.presynaptic(S))),
        d_offset_(scratch.take(plan.presynaptic(S))),
        input_(plan, first, call.forward.x, parameters.inputs, scratch) {
    for (int64_t k = 0; k < plan.interval * inner_; ++k) {
      rates_ahead_[k] = static_cast<T>(forward_.variant.rate) * powers_[k / inner_];
    }
  }

  void run() {
    begin();
    for (int64_t part = plan_.checkpoints - 1; part >= 0; --part) {
      enter(part);
      for (int64_t m = steps_ - 1; m >= 0; --m) {
        back(m);
        for (int s = 0; s < S; ++s) {
          if (is_reset(begin_ + m, s)) back_through_reset(m, s);
        }
      }
      leave(part);
    }
    end();
  }

 private:
  T* take_history(Scratch<T>& scratch, int64_t slots) const {
    return scratch.take_unwritten(Base::history(plan_, slots));
  }

  void begin() {
    if (call_.grad_final_A == nullptr) return;
    for (T* matrix : {E_, D_}) this->matrices_in(call_.grad_final_A, matrix);
    for (int s = 0; s < S; ++s) add_transposed(s, D_, E_);
    E_is_zero_ = false;
  }

  void end() {
    if (call_.grad_initial_A != nullptr) this->matrices_out(D_, call_.grad_initial_A);
    if (call_.grad_initial_h != nullptr) this->presynaptic_out(dh_, 0, call_.grad_initial_h);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        gradients_.vector(kGain)[i] += d_gain_[layout_.value(s, i)];
        gradients_.vector(kOffset)[i] += d_offset_[layout_.value(s, i)];
      }
    }
  }

  void add_transposed(int s, const T* HWY_RESTRICT from, T* HWY_RESTRICT to) const {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int64_t j = 0; j < plan_.hidden; ++j) {
        to[i * matrix_row_ + layout_.value(s, j)] += from[j * matrix_row_ + layout_.value(s, i)];
      }
    }
  }

  void enter(int64_t part) {
    begin_ = part * plan_.interval;
    steps_ = std::min(plan_.interval, plan_.steps - begin_);
    A_ = part == 0 && A_starts_at_zero_ ? nullptr : saved_.checkpoint(part);
    for (int64_t m = 0; m <= steps_; ++m) {
      const int64_t t = begin_ + m - 1;
      this->presynaptic_in(t < 0 ? forward_.initial_h : forward_.output, std::max(t, int64_t{0}),
                       slot(h_, m));
    }
    std::copy_n(h_, steps_ * plan_.presynaptic(S), seen_h_);
    for (int s = 0; s < S; ++s) forget(steps_ - 1, s);
    if (!E_is_zero_) load_later();
  }

  // What step m does not see of this sample: what came before its latest reset.
  void forget(int64_t m, int s) {
    int64_t latest = m;
    while (latest >= 0 && !is_reset(begin_ + latest, s)) --latest;
    A_is_forgotten_[s] = latest >= 0;
    clear_slots(seen_h_, s, 0, latest + 1);
  }

  // E1 h of all steps of the block.
  void load_later() {
    const Layout layout = layout_;
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout.presynaptic(v, 0);
      for (int64_t m = 0; m < steps_; m += kTileRows) {
        sum_rows<RowsOf::shared, kTileRows>(
            layout, T(0), plan_.hidden, {slot(h_, m) + at, history_step_, layout.presynaptic(0, 1)},
            {E_ + at, 0, matrix_row_}, slot(later_, m) + at, history_step_);
      }
    }
  }

  void back(int64_t m) {
    const int64_t t = begin_ + m;
    const int64_t size = plan_.presynaptic(S);
    prefetch_before(t);
    load_gradient(t);
    T* const dp = slot(dp_, m);
    std::fill_n(dp, size, T(0));
    for (int64_t k = inner_; k >= 1; --k) {
      const int64_t product = m * inner_ + k - 1;
      const T* s = k == inner_ ? slot(h_, m + 1) : this->activity(t, k);
      back_through_activity(t, k, s, slot(du_, product), dp);
      std::copy_n(this->activity(t, k - 1), size, slot(s_, product));
      back_through_recall(m, slot(du_, product));
    }
    back_through_activity(t, 0, this->activity(t, 0), du_0_, dp);
    this->presynaptic_to_rows(dp, 0, plan_.hidden, input_.neurons(), input_.width());
    input_.backward(t, gradients_.vector(kInput), call_.grad_x);
    back_to_before(m);
  }

  // What the step before t will read, and this step's part of what the block before will.
  void prefetch_before(int64_t t) const {
    this->prefetch_presynaptic(call_.grad_output, t - 1);
    this->prefetch_presynaptic(forward_.output, t - 1 - plan_.interval);
    if (t > 0) this->prefetch(saved_.presynaptic(t - 1, 0), plan_.saved_unblocked(S));
    if (begin_ == 0) return;
    const int64_t part = plan_.matrix(S) / plan_.interval;
    this->prefetch(saved_.checkpoint(begin_ / plan_.interval - 1) + (t - begin_) * part, part);
  }

  // ds of the last activity.
  void load_gradient(int64_t t) {
    if (call_.grad_output == nullptr) {
      std::copy_n(dh_, plan_.presynaptic(S), ds_);
      return;
    }
    const D d;
    this->presynaptic_in(call_.grad_output, t, ds_);
    for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
      hn::Store(hn::Add(hn::Load(d, ds_ + i), hn::Load(d, dh_ + i)), d, ds_ + i);
    }
  }

  // From ds_k to du_k; adds to dp.
  void back_through_activity(int64_t t, int64_t k, const T* s, T* du, T* dp) const {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      back_through_samples(t, k, v, s + at, du + at, dp + at);
    }
  }

  HWY_INLINE void back_through_samples(int64_t t, int64_t k, int v, const T* HWY_RESTRICT activity,
                                       T* HWY_RESTRICT du, T* HWY_RESTRICT dp) const {
    const D d;
    const Layout layout = layout_;
    const bool layer_norm = forward_.variant.layer_norm;
    const int64_t first = layout.presynaptic(v, 0);
    const T* HWY_RESTRICT ds_of = ds_ + first;
    const T* HWY_RESTRICT gain = this->gain_;
    T* HWY_RESTRICT d_gain = d_gain_ + first;
    T* HWY_RESTRICT d_offset = d_offset_ + first;
    const T* HWY_RESTRICT normalised = layer_norm ? this->normalised(t, k) + first : nullptr;
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const int64_t at = layout.presynaptic(0, j);
      const V slope = activation_slope(d, Activation::tanh, hn::LoadU(d, activity + at));
      V ds = hn::Mul(hn::Load(d, ds_of + at), slope);
      if (layer_norm) {
        const V n = hn::LoadU(d, normalised + at);
        hn::Store(hn::MulAdd(ds, n, hn::Load(d, d_gain + at)), d, d_gain + at);
        hn::Store(hn::Add(ds, hn::Load(d, d_offset + at)), d, d_offset + at);
        ds = hn::Mul(ds, common<Layout>(gain + j));
      }
      hn::Store(ds, d, du + at);
    }
    if (layer_norm) {
      const V inverse = Layout::neuron(saved_.samples(t, k), v);
      back_through_normalise(layout, this->shares_, normalised, inverse, du);
    }
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const int64_t at = layout.presynaptic(0, j);
      hn::Store(hn::Add(hn::Load(d, dp + at), hn::Load(d, du + at)), d, dp + at);
    }
  }

  // ds = A[t]^T du
  void back_through_recall(int64_t m, const T* du) {
    if (A_ != nullptr) {
      const int64_t v = layout_.presynaptic(1, 0);
      sum_rows<RowsOf::own, kVectors>(layout_, T(0), plan_.hidden, {du, v, layout_.presynaptic(0, 1)},
                                      {A_, v, matrix_row_}, ds_, v);
      for (int s = 0; s < S; ++s) {
        if (A_is_forgotten_[s]) clear_slots(ds_, s, 0, 1);
      }
    }
    this->add_recalled(A_ == nullptr ? T(0) : powers_[m + 1], m + 1, this->rates_of_latest(m + 1),
                       seen_h_, du, seen_h_, ds_);
  }

  // dh before the step, from dp and what follows in A.
  void back_to_before(int64_t m) {
    const int64_t first = m * inner_;
    const int64_t count = (steps_ - m) * inner_;
    const T* const h = slot(seen_h_, m);
    T later = T(0);
    if (!E_is_zero_) {
      std::copy_n(slot(later_, m), plan_.presynaptic(S), dh_);
      later = static_cast<T>(forward_.variant.rate) * powers_[steps_ - 1 - m];
    }
    this->add_parameter_product(later, parameters_.row(kSlowWeight, 0), slot(dp_, m), dh_);
    this->add_recalled(T(1), count, rates_ahead_, slot(s_, first), h, slot(du_, first), dh_);
    this->add_recalled(T(1), count, rates_ahead_, slot(du_, first), h, slot(s_, first), dh_);
  }

  // The sample's steps before m do not see what follows, but see their A again.
  void back_through_reset(int64_t m, int s) {
    clear_slots(dh_, s, 0, 1);
    clear_slots(later_, s, 0, m);
    clear_slots(du_, s, m * inner_, steps_ * inner_);
    clear_slots(s_, s, m * inner_, steps_ * inner_);
    this->clear_sample(E_, s);
    this->clear_sample(D_, s);
    for (int64_t u = 0; u < m; ++u) {
      for (int64_t j = 0; j < plan_.hidden; ++j) {
        slot(seen_h_, u)[layout_.value(s, j)] = slot(h_, u)[layout_.value(s, j)];
      }
    }
    forget(m - 1, s);
  }

  // The block's part of dW; what comes from behind the block before it.
  void leave(int64_t part) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      add_outer_products_of_all<Layout, T>(
          layout_, plan_.hidden, steps_, {dp_ + at, layout_.presynaptic(0, 1), history_step_},
          {seen_h_ + at, 0, history_step_}, gradients_.matrix(kSlowWeight), plan_.row);
    }
    const bool wants_D = call_.grad_initial_A != nullptr;
    if (part == 0 && !wants_D) return;
    const D d;
    const int64_t count = steps_ * inner_;
    for (int64_t k = 0; k < count; ++k) {
      T* HWY_RESTRICT du = slot(du_, k);
      const V power = hn::Set(d, powers_[k / inner_ + 1]);
      for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
        hn::Store(hn::Mul(power, hn::Load(d, du + i)), d, du + i);
      }
    }
    const T scale = E_is_zero_ ? T(0) : powers_[steps_];
    if (wants_D) this->add_outer(scale, count, du_, s_, D_);
    if (part == 0) return;
    this->add_outer(scale, count, du_, s_, E_);
    this->add_outer(T(1), count, s_, du_, E_);
    E_is_zero_ = false;
  }

  const FastWeightsBackwardParams<T>& call_;
  const PaddedMatrices<T>& parameters_;
  const GradientSums<T>& gradients_;
  const int64_t inner_;
  const bool A_starts_at_zero_;
  T* const E_;  // E1
  T* const D_;  // likewise, if its gradient is wanted in the end
  T* const rates_ahead_;
  // Of the block's steps, or inner steps.
  T* const du_;
  T* const s_;
  T* const h_;       // before and after them, whether or not a reset follows
  T* const seen_h_;  // before them, as the one at hand sees it in A; in the end, as each had it
  T* const dp_;
  T* const later_;  // E1 h
  T* const du_0_;
  T* const ds_;
  T* const dh_;
  T* const d_gain_;
  T* const d_offset_;
  const InputProjection<T, S> input_;

  bool E_is_zero_ = true;
  // The block at hand.
  int64_t begin_ = 0, steps_ = 0;
  const T* A_ = nullptr;  // null: zero
  bool A_is_forgotten_[S] = {};
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
