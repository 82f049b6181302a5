// The backward pass of Fast Weights for one group of samples. Compiled once for each SIMD target.
//
// dX is the gradient of the loss with respect to X. With u_k the argument of tanh(LN()) for s_k and
// D[t] = dA[t]:
//   ds_(k-1) = A[t]^T du_k,   k = S .. 1
//   dp = sum of du_k over k = 0 .. S;   dW += dp outer h
//   dh = W^T dp + rate (D[t] + D[t]^T) h,   where h = h[t-1]
//   D[t] = decay D[t+1] + sum over k = 1 .. S of du_k outer s_(k-1)
// Like A, D is not updated in memory in every step. dh needs only E = D + D^T. Within a time block,
//   E[t] h = decay^m E_end h + sum of decay^(u-t) (du_k (s_(k-1) . h) + s_(k-1) (du_k . h))
// over k and the steps u >= t of the block, where m steps of the block follow step t, and D_end and
// E_end = D_end + D_end^T are the parts of D and E at the block's last step that come from later
// blocks. The h of all steps are known from the outputs, so E_end h is computed for the whole block
// at once. A is not recomputed: its value before the block is the block's checkpoint.

#if defined(STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_CPU_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/input_projection-inl.h"
#include "stpn/kernels/fast_weights/cpu_time_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout>
class FastWeightsBackwardGroup : public FastWeightsGroup<Layout> {
  using Base = FastWeightsGroup<Layout>;
  using Base::clear_entries;
  using Base::decay_powers_;
  using Base::entry;
  using Base::entry_stride_;
  using Base::forward_;
  using Base::is_reset;
  using Base::kVectors;
  using Base::layout_;
  using Base::matrix_row_;
  using Base::plan_;
  using Base::S;
  using Base::saved_;
  using typename Base::D;
  using typename Base::Plan;
  using typename Base::T;
  using typename Base::V;

 public:
  static int64_t zeros(const Plan& plan) {
    const int64_t products = plan.interval * inner_steps(plan);
    return Base::common_scratch(plan, products) + Base::rates_size(products) +
           3 * plan.presynaptic(S) + InputProjection<T, S>::scratch(plan);
  }
  static int64_t unwritten(const Plan& plan) {
    return 2 * plan.matrix(S) + 2 * Base::series_size(plan, plan.interval * inner_steps(plan)) +
           4 * Base::series_size(plan, plan.interval + 1) + 2 * plan.presynaptic(S);
  }

  // Adds to `gradients`.
  FastWeightsBackwardGroup(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                           const FastWeightsBackwardParams<T>& call,
                           const ProjectedParameters<T>& parameters,
                           const GradientSums<T>& gradients)
      : Base(plan, first, saved, call.forward, plan.interval * inner_steps(plan), scratch),
        call_(call),
        parameters_(parameters.matrices),
        gradients_(gradients),
        inner_(inner_steps(plan)),
        A_starts_at_zero_(this->starts_at_zero()),
        E_end_(scratch.take_unwritten(plan.matrix(S))),
        D_end_(scratch.take_unwritten(plan.matrix(S))),
        product_rates_(scratch.take(Base::rates_size(plan.interval * inner_))),
        du_(take_series(scratch, plan.interval * inner_)),
        s_(take_series(scratch, plan.interval * inner_)),
        h_(take_series(scratch, plan.interval + 1)),
        visible_h_(take_series(scratch, plan.interval + 1)),
        dp_(take_series(scratch, plan.interval + 1)),
        E_end_h_(take_series(scratch, plan.interval + 1)),
        du_0_(scratch.take_unwritten(plan.presynaptic(S))),
        ds_(scratch.take_unwritten(plan.presynaptic(S))),
        dh_(scratch.take(plan.presynaptic(S))),
        grad_gain_(scratch.take(plan.presynaptic(S))),
        grad_offset_(scratch.take(plan.presynaptic(S))),
        input_(plan, first, call.forward.x, parameters.inputs, scratch) {
    for (int64_t k = 0; k < plan.interval * inner_; ++k) {
      product_rates_[k] = static_cast<T>(forward_.variant.rate) * decay_powers_[k / inner_];
    }
  }

  void run() {
    begin();
    for (int64_t block = plan_.checkpoints - 1; block >= 0; --block) {
      begin_time_block(block);
      for (int64_t m = steps_ - 1; m >= 0; --m) {
        backpropagate_step(m);
        for (int s = 0; s < S; ++s) {
          if (is_reset(begin_ + m, s)) backpropagate_reset(m, s);
        }
      }
      end_time_block(block);
    }
    end();
  }

 private:
  T* take_series(Scratch<T>& scratch, int64_t entries) const {
    return scratch.take_unwritten(Base::series_size(plan_, entries));
  }

  // Initialises D_end and E_end with the gradient of the final A.
  void begin() {
    if (call_.grad_final_A == nullptr) return;
    for (T* matrix : {E_end_, D_end_}) this->matrices_in(call_.grad_final_A, matrix);
    for (int s = 0; s < S; ++s) add_transposed(s, D_end_, E_end_);
    E_end_is_zero_ = false;
  }

  // Writes the gradients of the initial state, and adds those of the layer norm's parameters.
  void end() {
    if (call_.grad_initial_A != nullptr) this->matrices_out(D_end_, call_.grad_initial_A);
    if (call_.grad_initial_h != nullptr) this->presynaptic_out(dh_, 0, call_.grad_initial_h);
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int s = 0; s < S; ++s) {
        gradients_.vector(kGain)[i] += grad_gain_[layout_.value(s, i)];
        gradients_.vector(kOffset)[i] += grad_offset_[layout_.value(s, i)];
      }
    }
  }

  // to += from^T, for sample s of two matrices.
  void add_transposed(int s, const T* HWY_RESTRICT from, T* HWY_RESTRICT to) const {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      for (int64_t j = 0; j < plan_.hidden; ++j) {
        to[i * matrix_row_ + layout_.value(s, j)] += from[j * matrix_row_ + layout_.value(s, i)];
      }
    }
  }

  // Loads the h of the block's steps and multiplies them by E_end.
  void begin_time_block(int64_t block) {
    begin_ = block * plan_.interval;
    steps_ = std::min(plan_.interval, plan_.steps - begin_);
    A_ = block == 0 && A_starts_at_zero_ ? nullptr : saved_.checkpoint(block);
    for (int64_t m = 0; m <= steps_; ++m) {
      const int64_t t = begin_ + m - 1;
      this->presynaptic_in(t < 0 ? forward_.initial_h : forward_.output, std::max(t, int64_t{0}),
                           entry(h_, m));
    }
    std::copy_n(h_, steps_ * plan_.presynaptic(S), visible_h_);
    for (int s = 0; s < S; ++s) hide_before_reset(steps_ - 1, s);
    if (!E_end_is_zero_) multiply_by_E_end();
  }

  // A[t] of step m contains nothing from before sample s's latest reset up to step m, if the block
  // has one: zeroes the entries of visible_h_ from before it, and sets A_is_hidden_.
  void hide_before_reset(int64_t m, int s) {
    int64_t latest = m;
    while (latest >= 0 && !is_reset(begin_ + latest, s)) --latest;
    A_is_hidden_[s] = latest >= 0;
    clear_entries(visible_h_, s, 0, latest + 1);
  }

  // E_end h for the h of all steps of the block.
  void multiply_by_E_end() {
    const Layout layout = layout_;
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout.presynaptic(v, 0);
      for (int64_t m = 0; m < steps_; m += kTileRows) {
        sum_rows<RowsOf::shared, kTileRows>(
            layout, T(0), plan_.hidden,
            {entry(h_, m) + at, entry_stride_, layout.presynaptic(0, 1)},
            {E_end_ + at, 0, matrix_row_}, entry(E_end_h_, m) + at, entry_stride_);
      }
    }
  }

  // Step m of the block.
  void backpropagate_step(int64_t m) {
    const int64_t t = begin_ + m;
    const int64_t size = plan_.presynaptic(S);
    prefetch_before(t);
    begin_ds(t);
    T* const dp = entry(dp_, m);
    std::fill_n(dp, size, T(0));
    for (int64_t k = inner_; k >= 1; --k) {
      const int64_t product = m * inner_ + k - 1;
      const T* s = k == inner_ ? entry(h_, m + 1) : this->activity(t, k);
      backpropagate_activity(t, k, s, entry(du_, product), dp);
      std::copy_n(this->activity(t, k - 1), size, entry(s_, product));
      backpropagate_A_product(m, entry(du_, product));
    }
    backpropagate_activity(t, 0, this->activity(t, 0), du_0_, dp);
    this->presynaptic_to_rows(dp, 0, plan_.hidden, input_.neurons(), input_.width());
    input_.backward(t, gradients_.vector(kInput), call_.grad_x);
    backpropagate_to_previous_h(m);
  }

  // Prefetches what step t-1 reads, and a part of the checkpoint and outputs that the previous
  // block reads.
  void prefetch_before(int64_t t) const {
    this->prefetch_presynaptic(call_.grad_output, t - 1);
    this->prefetch_presynaptic(forward_.output, t - 1 - plan_.interval);
    if (t > 0) this->prefetch(saved_.presynaptic(t - 1, 0), plan_.saved_unblocked(S));
    if (begin_ == 0) return;
    const int64_t part = plan_.matrix(S) / plan_.interval;
    this->prefetch(saved_.checkpoint(begin_ / plan_.interval - 1) + (t - begin_) * part, part);
  }

  // ds_S, that of h[t]: the gradient from later steps and that of the output.
  void begin_ds(int64_t t) {
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

  // Computes du_k from ds_k, and adds it to dp. `s` is s_k.
  void backpropagate_activity(int64_t t, int64_t k, const T* s, T* du, T* dp) const {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      backpropagate_activity_vectors(t, k, v, s + at, du + at, dp + at);
    }
  }

  // The same for the samples in vector v of the layout.
  HWY_INLINE void backpropagate_activity_vectors(int64_t t, int64_t k, int v,
                                                 const T* HWY_RESTRICT activity, T* HWY_RESTRICT du,
                                                 T* HWY_RESTRICT dp) const {
    const D d;
    const Layout layout = layout_;
    const bool layer_norm = forward_.variant.layer_norm;
    const int64_t first = layout.presynaptic(v, 0);
    const T* HWY_RESTRICT ds_values = ds_ + first;
    const T* HWY_RESTRICT gain = this->gain_;
    T* HWY_RESTRICT grad_gain = grad_gain_ + first;
    T* HWY_RESTRICT grad_offset = grad_offset_ + first;
    const T* HWY_RESTRICT normalised = layer_norm ? this->normalised(t, k) + first : nullptr;
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const int64_t at = layout.presynaptic(0, j);
      const V slope = activation_slope(d, Activation::tanh, hn::LoadU(d, activity + at));
      V ds = hn::Mul(hn::Load(d, ds_values + at), slope);
      if (layer_norm) {
        const V n = hn::LoadU(d, normalised + at);
        hn::Store(hn::MulAdd(ds, n, hn::Load(d, grad_gain + at)), d, grad_gain + at);
        hn::Store(hn::Add(ds, hn::Load(d, grad_offset + at)), d, grad_offset + at);
        ds = hn::Mul(ds, common<Layout>(gain + j));
      }
      hn::Store(ds, d, du + at);
    }
    if (layer_norm) {
      const V inverse_std = Layout::neuron(saved_.samples(t, k), v);
      back_through_normalise(layout, this->mean_weights_, normalised, inverse_std, du);
    }
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const int64_t at = layout.presynaptic(0, j);
      hn::Store(hn::Add(hn::Load(d, dp + at), hn::Load(d, du + at)), d, dp + at);
    }
  }

  // ds = A[t]^T du, in step m of the block
  void backpropagate_A_product(int64_t m, const T* du) {
    if (A_ != nullptr) {
      const int64_t v = layout_.presynaptic(1, 0);
      sum_rows<RowsOf::own, kVectors>(layout_, T(0), plan_.hidden,
                                      {du, v, layout_.presynaptic(0, 1)}, {A_, v, matrix_row_}, ds_,
                                      v);
      for (int s = 0; s < S; ++s) {
        if (A_is_hidden_[s]) clear_entries(ds_, s, 0, 1);
      }
    }
    this->add_low_rank_product(A_ == nullptr ? T(0) : decay_powers_[m + 1], m + 1,
                               this->latest_decayed_rates(m + 1), visible_h_, du, visible_h_, ds_);
  }

  // dh of h[t-1], in step m of the block: W^T dp + rate E[t] h.
  void backpropagate_to_previous_h(int64_t m) {
    const int64_t first = m * inner_;
    const int64_t count = (steps_ - m) * inner_;
    const T* const h = entry(visible_h_, m);
    T E_end_scale = T(0);
    if (!E_end_is_zero_) {
      std::copy_n(entry(E_end_h_, m), plan_.presynaptic(S), dh_);
      E_end_scale = static_cast<T>(forward_.variant.rate) * decay_powers_[steps_ - 1 - m];
    }
    this->add_parameter_product(E_end_scale, parameters_.row(kSlowWeight, 0), entry(dp_, m), dh_);
    const T* const s = entry(s_, first);
    const T* const du = entry(du_, first);
    this->add_low_rank_product(T(1), count, product_rates_, s, h, du, dh_);
    this->add_low_rank_product(T(1), count, product_rates_, du, h, s, dh_);
  }

  // Step m resets sample s, so no gradient of it passes to earlier steps: drops those that are
  // held. The A of the earlier steps contains the h before the reset, so these become visible
  // again.
  void backpropagate_reset(int64_t m, int s) {
    clear_entries(dh_, s, 0, 1);
    clear_entries(E_end_h_, s, 0, m);
    clear_entries(du_, s, m * inner_, steps_ * inner_);
    clear_entries(s_, s, m * inner_, steps_ * inner_);
    this->clear_sample(E_end_, s);
    this->clear_sample(D_end_, s);
    for (int64_t u = 0; u < m; ++u) {
      for (int64_t j = 0; j < plan_.hidden; ++j) {
        entry(visible_h_, u)[layout_.value(s, j)] = entry(h_, u)[layout_.value(s, j)];
      }
    }
    hide_before_reset(m - 1, s);
  }

  // Adds the block's part of dW, and updates D_end and E_end to those of the previous block.
  void end_time_block(int64_t block) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      add_outer_products_of_all<Layout, T>(
          layout_, plan_.hidden, steps_, {dp_ + at, layout_.presynaptic(0, 1), entry_stride_},
          {visible_h_ + at, 0, entry_stride_}, gradients_.matrix(kSlowWeight), plan_.row);
    }
    const bool wants_D = call_.grad_initial_A != nullptr;
    if (block == 0 && !wants_D) return;
    const D d;
    const int64_t count = steps_ * inner_;
    for (int64_t k = 0; k < count; ++k) {
      T* HWY_RESTRICT du = entry(du_, k);
      const V power = hn::Set(d, decay_powers_[k / inner_ + 1]);
      for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
        hn::Store(hn::Mul(power, hn::Load(d, du + i)), d, du + i);
      }
    }
    const T scale = E_end_is_zero_ ? T(0) : decay_powers_[steps_];
    if (wants_D) this->add_outer(scale, count, du_, s_, D_end_);
    if (block == 0) return;
    this->add_outer(scale, count, du_, s_, E_end_);
    this->add_outer(T(1), count, s_, du_, E_end_);
    E_end_is_zero_ = false;
  }

  const FastWeightsBackwardParams<T>& call_;
  const PaddedMatrices<T>& parameters_;
  const GradientSums<T>& gradients_;
  const int64_t inner_;  // S, inner steps per time step
  const bool A_starts_at_zero_;
  T* const E_end_;
  T* const D_end_;          // updated only if the gradient of the initial A is wanted
  T* const product_rates_;  // rate decay^(k / S) for inner step k of the block
  // Series with an entry for each inner step of the block: du_k and s_(k-1).
  T* const du_;
  T* const s_;
  // Series with an entry for each time step of the block.
  T* const h_;          // h before the step, resets not applied; a last entry for h after the block
  T* const visible_h_;  // h before the step, zero if A of the current step does not contain it;
                        // once all steps are done, h as its own step read it
  T* const dp_;
  T* const E_end_h_;  // E_end h
  // Of the current step.
  T* const du_0_;
  T* const ds_;
  T* const dh_;
  T* const grad_gain_;
  T* const grad_offset_;
  const InputProjection<T, S> input_;

  bool E_end_is_zero_ = true;
  // The current block: its first step, its number of steps, and A before it.
  int64_t begin_ = 0, steps_ = 0;
  const T* A_ = nullptr;      // null: zero
  bool A_is_hidden_[S] = {};  // whether A of the current step contains none of it, after a reset
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
