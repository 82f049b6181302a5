// The forward pass of Fast Weights for one group of samples. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/input_projection-inl.h"
#include "stpn/kernels/fast_weights/cpu_time_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Each time step reads W once, and A once for each inner step. With kEnergy, A is updated in every
// step, because the energy depends on the elements of A[t] themselves.
template <class Layout, bool kEnergy>
class FastWeightsForwardGroup : public FastWeightsGroup<Layout> {
  using Base = FastWeightsGroup<Layout>;
  using Base::decay_powers_;
  using Base::entry;
  using Base::forward_;
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
    return Base::common_scratch(plan, plan.interval) + InputProjection<T, S>::scratch(plan);
  }
  static int64_t unwritten(const Plan& plan) {
    return plan.matrix(S) + 2 * Base::series_size(plan, plan.interval + 1) +
           5 * plan.presynaptic(S);
  }

  FastWeightsForwardGroup(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                          const FastWeightsForwardParams<T>& call,
                          const ProjectedParameters<T>& parameters)
      : Base(plan, first, saved, call, plan.interval, scratch),
        parameters_(parameters.matrices),
        A_(scratch.take_unwritten(plan.matrix(S))),
        h_(scratch.take_unwritten(Base::series_size(plan, plan.interval + 1))),
        weighted_h_(scratch.take_unwritten(Base::series_size(plan, plan.interval + 1))),
        p_(scratch.take_unwritten(plan.presynaptic(S))),
        A_s_(scratch.take_unwritten(plan.presynaptic(S))),
        s_(scratch.take_unwritten(plan.presynaptic(S))),
        energy_(scratch.take_unwritten(plan.presynaptic(S))),
        inner_energy_(scratch.take_unwritten(plan.presynaptic(S))),
        input_(plan, first, call.x, parameters.inputs, scratch),
        A_is_zero_(this->starts_at_zero()) {}

  void run() {
    if (!A_is_zero_) this->matrices_in(forward_.initial_A, A_);
    this->presynaptic_in(forward_.initial_h, 0, h_);
    for (int64_t t = 0; t < plan_.steps; ++t) {
      if (t % plan_.interval == 0) begin_time_block(t / plan_.interval);
      for (int s = 0; s < S; ++s) {
        if (this->is_reset(t, s)) reset_sample(s);
      }
      forward_step(t);
      if (forward_.closed_loop != nullptr) {
        forward_.closed_loop->after_step(t, this->first_, S,
                                         forward_.output + this->place(t, 0, plan_.hidden));
      }
    }
    apply_pending();
    if (forward_.final_A != nullptr) this->matrices_out(A_, forward_.final_A);
  }

 private:
  // Updates A and, unless it is zero, saves it as the block's checkpoint.
  void begin_time_block(int64_t block) {
    apply_pending();
    if (saved_ && !A_is_zero_) std::copy_n(A_, plan_.matrix(S), saved_.checkpoint(block));
  }

  void reset_sample(int s) {
    this->clear_sample(A_, s);
    this->clear_entries(h_, s, 0, pending_ + 1);
  }

  // Adds the pending outer products to A; the latest h becomes entry 0 of h_.
  void apply_pending() {
    if (pending_ == 0) return;
    const D d;
    const T* rates = this->latest_decayed_rates(pending_);
    for (int64_t m = 0; m < pending_; ++m) {
      const T* HWY_RESTRICT h = entry(h_, m);
      T* HWY_RESTRICT weighted = entry(weighted_h_, m);
      for (int64_t k = 0; k < plan_.presynaptic(S); k += hn::Lanes(d)) {
        hn::Store(hn::Mul(hn::Set(d, rates[m]), hn::Load(d, h + k)), d, weighted + k);
      }
    }
    this->add_outer(A_is_zero_ ? T(0) : decay_powers_[pending_], pending_, weighted_h_, h_, A_);
    A_is_zero_ = false;
    std::copy_n(entry(h_, pending_), plan_.presynaptic(S), h_);
    pending_ = 0;
  }

  void forward_step(int64_t t) {
    input_.forward(t);
    this->rows_in(input_.neurons(), input_.width(), p_);
    this->add_parameter_product(T(1), parameters_.row(kSlowWeight, 0), entry(h_, pending_), p_);
    ++pending_;
    if constexpr (kEnergy) {
      apply_pending();
      std::fill_n(energy_, plan_.presynaptic(S), T(0));
    }
    std::copy_n(p_, plan_.presynaptic(S), s_);
    activate(t, 0, s_);
    for (int64_t k = 1; k <= forward_.variant.inner_steps; ++k) {
      if constexpr (kEnergy) measure_energy();
      multiply_by_A();
      T* const s = k < forward_.variant.inner_steps ? s_ : entry(h_, pending_);
      const D d;
      for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
        hn::Store(hn::Add(hn::Load(d, p_ + i), hn::Load(d, A_s_ + i)), d, s + i);
      }
      activate(t, k, s);
    }
    this->presynaptic_out(entry(h_, pending_), t, forward_.output);
    if constexpr (kEnergy) this->presynaptic_out(energy_, t, forward_.energy);
  }

  // A_s = A[t] s
  void multiply_by_A() {
    if (!A_is_zero_) dots_of_matrix<false>(A_s_);
    this->add_low_rank_product(A_is_zero_ ? T(0) : decay_powers_[pending_], pending_,
                               this->latest_decayed_rates(pending_), h_, s_, h_, A_s_);
  }

  // Adds the energy of one inner step.
  void measure_energy() {
    dots_of_matrix<true>(inner_energy_);
    const D d;
    for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
      hn::Store(hn::Add(hn::Load(d, energy_ + i), hn::Load(d, inner_energy_ + i)), d, energy_ + i);
    }
  }

  // to = A s, or with kMagnitudes |A| s^2, magnitude and square taken of each element.
  template <bool kMagnitudes>
  void dots_of_matrix(T* to) const {
    std::fill_n(to, plan_.presynaptic(S), T(0));
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      dot_rows<kMagnitudes>(layout_, plan_.hidden, A_ + at, matrix_row_, s_ + at, to + at);
    }
  }

  // Turns `values` into s_k = tanh(LN(values)), in place, and saves what backward needs of it.
  void activate(int64_t t, int64_t k, T* values) const {
    for (int v = 0; v < kVectors; ++v)
      activate_vectors(t, k, v, values + layout_.presynaptic(v, 0));
  }

  // The same for the samples in vector v of the layout.
  HWY_INLINE void activate_vectors(int64_t t, int64_t k, int v, T* HWY_RESTRICT values) const {
    const D d;
    const Layout layout = layout_;
    const T* HWY_RESTRICT gain = this->gain_;
    const T* HWY_RESTRICT offset = this->offset_;
    T* HWY_RESTRICT saved_s = nullptr;
    T* HWY_RESTRICT saved_normalised = nullptr;
    V inverse_std = hn::Set(d, T(1));
    if (saved_ && k < forward_.variant.inner_steps) {
      saved_s = this->activity(t, k) + layout.presynaptic(v, 0);
    }
    if (forward_.variant.layer_norm) {
      inverse_std = centre(layout, this->mean_weights_, values);
      if (saved_) {
        saved_normalised = this->normalised(t, k) + layout.presynaptic(v, 0);
        store_of_samples<Layout>(inverse_std, v, saved_.samples(t, k));
      }
    }
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const int64_t at = layout.presynaptic(0, j);
      const V n = hn::Mul(hn::Load(d, values + at), inverse_std);
      const V s = hn::Tanh(d, hn::MulAdd(n, common<Layout>(gain + j), common<Layout>(offset + j)));
      hn::Store(s, d, values + at);
      if (saved_s != nullptr) hn::StoreU(s, d, saved_s + at);
      if (saved_normalised != nullptr) hn::StoreU(n, d, saved_normalised + at);
    }
  }

  const PaddedMatrices<T>& parameters_;  // W transposed
  T* const A_;
  T* const h_;           // series: h before each pending step, then the latest h
  T* const weighted_h_;  // series: the pending h times rate decay^k
  T* const p_;
  T* const A_s_;
  T* const s_;
  T* const energy_;
  T* const inner_energy_;
  const InputProjection<T, S> input_;
  bool A_is_zero_;
  int64_t pending_ = 0;  // steps whose outer product A does not contain yet
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
