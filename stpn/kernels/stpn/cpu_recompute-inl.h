// What the backward pass of the STPN has of the forward pass again: the presynaptic inputs and the
// activities of an interval, and F, recomputed from a checkpoint. Compiled once for each SIMD
// target.

#if defined(STPN_KERNELS_STPN_CPU_RECOMPUTE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_RECOMPUTE_INL_H_
#undef STPN_KERNELS_STPN_CPU_RECOMPUTE_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_RECOMPUTE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "stpn/kernels/cpu/neuron_blocks-inl.h"
#include "stpn/kernels/stpn/cpu_forward_sweep-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `Pass` is the backward pass that derives from it.
template <class Pass, class Layout, Norm kNorm, bool kClamp>
class StpnRecomputed : public BackwardLoop<Pass, Layout> {
  using Loop = BackwardLoop<Pass, Layout>;

 protected:
  using Loop::is_reset;
  using Loop::kRows;
  using Loop::plan_;
  using Loop::S;
  using Loop::saved_;
  using typename Loop::D;
  using typename Loop::Plan;
  using typename Loop::T;
  static constexpr bool kPre = kNorm == Norm::pre;
  static constexpr bool kPost = kNorm == Norm::post;
  static constexpr bool kScaled = kIsScaled<kNorm>;

 public:
  // Only the clamp, and the norm after it, need the F that an update makes.
  static constexpr bool kSeesNext = kClamp || kPost;

  // With neuron blocks also the gradients of the presynaptic inputs, which StpnBackward takes.
  static int64_t activity(const Plan& plan) {
    const int64_t presynaptic = (Layout::kNeuronBlocks ? 2 : 1) * plan.presynaptic(S);
    return plan.interval * (presynaptic + plan.neurons(S));
  }
  auto initial(int64_t) const { return plastic_columns(forward_.initial_F); }
  void recompute_interval(int64_t begin, int64_t end) { recompute(begin, end, this->rows_); }
  // From seen(begin) to seen(end), with resets. With neuron blocks one step of all rows of the
  // block after the other; otherwise each register tile through all steps before the next, so that
  // between steps its rows stay in the first-level cache.
  void recompute(int64_t begin, int64_t end, Rows which) {
    const int64_t steps = Layout::kNeuronBlocks ? 1 : end - begin;
    for (int64_t t = begin; t < end; t += steps) {
      if constexpr (Layout::kNeuronBlocks) this->prefetch_saved(t + kStepsAhead, which.begin);
      for (int64_t i = which.begin; i < which.end; i += kRows) recompute_rows(t, t + steps, i);
    }
  }

 protected:
  static int64_t recompute_scratch(const Plan& plan) { return plan.neurons(S); }

  StpnRecomputed(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                 const StpnForwardParams<T>& forward, const StpnParameters<T>& parameters)
      : Loop(plan, first, saved, forward.reset, scratch),
        forward_(forward),
        parameters_(parameters.matrices),
        inputs_(forward.extent.inputs),
        recurrent_(forward.variant.recurrent),
        current_(has_current_activity(forward.variant)),
        oja_(forward.variant.rule == Rule::oja),
        plastic_(forward.extent, forward.variant),
        has_hebbian_(!Layout::kNeuronBlocks && (oja_ || current_ || !plastic_.are_all)),
        z_(Loop::take_activity(scratch, plan.interval * plan.presynaptic(S))),
        h_(Loop::take_activity(scratch, plan.interval * plan.neurons(S))),
        hebbian_memory_(has_hebbian_ ? plan.interval * plan.presynaptic(S) : 0),
        growth_memory_(has_growth(forward.variant) ? plan.interval * plan.neurons(S) : 0),
        hebbian_(has_hebbian_ ? hebbian_memory_.get() : z_),
        growth_(has_growth(forward.variant) ? growth_memory_.get() : h_),
        ones_(scratch.take(plan.neurons(S))),
        bound_(static_cast<T>(forward.variant.clamp)),
        just_outside_(std::nextafter(bound_, std::numeric_limits<T>::infinity())) {
    std::fill_n(ones_, plan.neurons(S), T(1));
    if (has_hebbian_) std::fill_n(hebbian_, plan.interval * plan.presynaptic(S), T(0));
    if (growth_ != h_) std::fill_n(growth_, plan.interval * plan.neurons(S), T(0));
  }

  // Reads z[t], h[t] and the presynaptic term of the update.
  void load_step(int64_t t) {
    load_presynaptic(t, false, z(t));
    if (oja_) {
      std::copy_n(saved_.presynaptic(t, 0), plan_.presynaptic(S), hebbian(t));
    } else if (has_hebbian_) {
      load_presynaptic(t, current_, hebbian(t));
      this->clear_outside(hebbian(t), 1, plastic_.begin, plastic_.end);
    }
    this->neurons_in(forward_.output, t, h(t));
    if (has_growth(forward_.variant)) load_growth(t);
    is_finite_ = (is_finite_ || t == this->begin_) && is_finite(growth(t)) &&
                 (plastic_.are_all || this->all_finite(z(t), plan_.presynaptic(S)));
  }

  // What the step before t will read, and what load_step() will, for the interval before this one.
  HWY_INLINE void prefetch_before(int64_t t, const T* grad_output) const {
    this->prefetch(grad_output, t - 1, plan_.hidden);
    this->prefetch_saved(t - 1);
    this->prefetch(forward_.x, t - plan_.interval, inputs_);
    this->prefetch(forward_.output, t - plan_.interval, plan_.hidden);
  }

  // What the loading of step t + 1 will read.
  HWY_INLINE void prefetch_after(int64_t t, const T* grad_output) const {
    this->prefetch(grad_output, t + 1, plan_.hidden);
    this->prefetch(forward_.x, t + 1, inputs_);
    this->prefetch(forward_.output, t + 1, plan_.hidden);
  }

  // An array of F or of its gradient, and which columns of a row of synapses it covers.
  template <typename U>
  typename Loop::template CallerMatrix<U> plastic_columns(U* F) const {
    return {F, plastic_.end - plastic_.begin, plastic_.begin};
  }
  // See Group::clear_outside. In neuron blocks there is neither padding nor a synapse without a
  // fast weight.
  bool is_finite(const T* neurons) const {
    return Layout::kNeuronBlocks || this->all_finite(neurons, plan_.neurons(S));
  }
  bool are_inputs_finite(const T* presynaptic) const {
    return Layout::kNeuronBlocks || this->all_finite(presynaptic, plan_.presynaptic(S));
  }
  void clear_unplastic(T* rows, int64_t count) const {
    if (!Layout::kNeuronBlocks) this->clear_outside(rows, count, plastic_.begin, plastic_.end);
  }

  // What the update of step t multiplies the F it finds by.
  const T* scale(int64_t t, int64_t i) const {
    if (kPost) return saved_.neurons(t, kSavedScale, i);
    const StpnVariant& v = forward_.variant;
    if (v.decay_gate) return saved_.neurons(t, saved_decay_gate(v) + 1, i);
    return kPre ? saved_.neurons(t, kSavedInverseNorm, i) : ones_ + i * S;
  }
  // For the steps of the interval: z, the presynaptic term of the update, and h.
  T* z(int64_t t) const { return z_ + this->step_in_interval(t) * plan_.presynaptic(S); }
  T* hebbian(int64_t t) const {
    return hebbian_ + this->step_in_interval(t) * plan_.presynaptic(S);
  }
  T* h(int64_t t) const { return h_ + this->step_in_interval(t) * plan_.neurons(S); }
  // What the update of step t multiplies the presynaptic term by, and the same without its gate.
  T* growth(int64_t t) const { return growth_ + this->step_in_interval(t) * plan_.neurons(S); }
  const T* ungated_growth(int64_t t) const {
    const StpnVariant& v = forward_.variant;
    return v.rule == Rule::delta ? saved_.neurons(t, saved_written(v) + 2) : h(t);
  }
  void load_growth(int64_t t) const {
    const D d;
    const StpnVariant& v = forward_.variant;
    const T* HWY_RESTRICT ungated = ungated_growth(t);
    const T* HWY_RESTRICT gate = v.write_gate ? saved_.neurons(t, saved_write_gate(v)) : ones_;
    for (int64_t k = 0; k < plan_.neurons(S); k += hn::Lanes(d)) {
      hn::Store(hn::Mul(hn::LoadU(d, gate + k), hn::LoadU(d, ungated + k)), d, growth(t) + k);
    }
  }

  // z[t] with h[t] (`current`) or h[t-1] as its recurrent part; the latter is zero after a reset.
  void load_presynaptic(int64_t t, bool current, T* z) const {
    this->rows_to_presynaptic(forward_.x + this->place(t, 0, inputs_), inputs_, inputs_, 0, z);
    if (!recurrent_) return;
    if (current) {
      this->rows_to_presynaptic(forward_.output + this->place(t, 0, plan_.hidden), plan_.hidden,
                                plan_.hidden, inputs_, z);
    } else {
      this->activity_before(forward_.initial_h, forward_.output, t, inputs_, z);
    }
  }

  HWY_INLINE void recompute_rows(int64_t begin, int64_t end, int64_t i) {
    StpnRecompute<Layout, kNorm, kClamp> pass{.lambda = parameters_.row(kLambda, i),
                                              .gamma = parameters_.row(kGamma, i),
                                              .hebbian = hebbian(begin),
                                              .h = growth(begin) + i * S,
                                              .scale = scale(begin, i),
                                              .before = this->seen_rows(begin, i),
                                              .after = this->seen_rows(begin + 1, i),
                                              .before_bound = bound_,
                                              .after_bound = just_outside_};
    // In variables of their own, as a store of F may change any member.
    const Layout layout = this->layout_;
    const int64_t matrix = plan_.all_matrices(S);  // with neuron blocks there is only one step
    const int64_t presynaptic = plan_.presynaptic(S), neurons = plan_.neurons(S);
    const int64_t saved = kScaled ? saved_.step() : 0;
    const bool is_finite = Layout::kNeuronBlocks || is_finite_;
    // Where F was clamped, it was recomputed just outside the bound, except the first one.
    if (begin == this->begin_) pass.before_bound = std::numeric_limits<T>::infinity();
    for (int64_t t = begin; t < end; ++t) {
      // The next tiles' part of this step, which the first tile of a line would wait for.
      if constexpr (kScaled && !Layout::kNeuronBlocks) hwy::Prefetch(pass.scale + kLine);
      sweep_tile(pass, layout, 0);
      if (!is_finite) clear_unplastic(pass.after, kRows);
      if (forward_.reset != nullptr && t + 1 < plan_.steps && this->any_reset(t + 1)) {
        for (int s = 0; s < S; ++s) {
          if (is_reset(t + 1, s)) this->clear_sample(pass.after, kRows, s);
        }
      }
      pass.before = pass.after;
      pass.after += matrix;
      pass.before_bound = bound_;
      pass.hebbian += presynaptic;
      pass.h += neurons;
      if constexpr (kScaled) pass.scale += saved;
    }
  }

  static constexpr int64_t kLine = 64 / sizeof(T);

  const StpnForwardParams<T>& forward_;
  const PaddedMatrices<T>& parameters_;
  const int64_t inputs_;
  const bool recurrent_;
  const bool current_;  // the Hebbian term has h[t] in place of h[t-1]
  const bool oja_;
  const PlasticColumns plastic_;
  // The growth in the steps of the interval, and z where not all is plastic.
  bool is_finite_ = true;

 private:
  const bool has_hebbian_;  // whether the presynaptic terms of the updates are not z
  // Of the steps of the interval, presynaptic arrays (z, hebbian) and neuron values (h, growth).
  T* const z_;
  T* const h_;
  const ScratchArray<T> hebbian_memory_, growth_memory_;
  T* const hebbian_;
  T* const growth_;
  T* const ones_;

 protected:
  const T bound_;

 private:
  // Recomputed values are clamped to this, so that a value that the clamp changed differs from one
  // that was exactly at the bound.
  const T just_outside_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
