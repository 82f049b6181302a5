// Fast weights forward, for a group of samples. Compiled once a target.

#if defined(STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_CPU_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/fast_weights/cpu_time_block-inl.h"
#include "stpn/kernels/cpu/input_projection-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// At each step one pass over W, and one over A for each inner step; for energy, which is of A[t]
// itself, A comes up to date at each.
template <class Layout, bool kEnergy>
class FastWeightsForwardGroup : public FastWeightsGroup<Layout> {
  using Base = FastWeightsGroup<Layout>;
  using Base::forward_;
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
    return Base::common_scratch(plan, plan.interval) + InputProjection<T, S>::scratch(plan);
  }
  static int64_t unwritten(const Plan& plan) {
    return plan.matrix(S) + 2 * Base::history(plan, plan.interval + 1) + 5 * plan.presynaptic(S);
  }

  FastWeightsForwardGroup(const Plan& plan, int64_t first, T* saved, Scratch<T>& scratch,
                          const FastWeightsForwardParams<T>& call, const ProjectedParameters<T>& parameters)
      : Base(plan, first, saved, call, plan.interval, scratch),
        parameters_(parameters.matrices),
        A_(scratch.take_unwritten(plan.matrix(S))),
        h_(scratch.take_unwritten(Base::history(plan, plan.interval + 1))),
        rated_h_(scratch.take_unwritten(Base::history(plan, plan.interval + 1))),
        slow_(scratch.take_unwritten(plan.presynaptic(S))),
        fast_(scratch.take_unwritten(plan.presynaptic(S))),
        s_(scratch.take_unwritten(plan.presynaptic(S))),
        spent_(scratch.take_unwritten(plan.presynaptic(S))),
        spent_once_(scratch.take_unwritten(plan.presynaptic(S))),
        input_(plan, first, call.x, parameters.inputs, scratch),
        A_is_zero_(this->starts_at_zero()) {}

  void run() {
    if (!A_is_zero_) this->matrices_in(forward_.initial_A, A_);
    this->presynaptic_in(forward_.initial_h, 0, h_);
    for (int64_t t = 0; t < plan_.steps; ++t) {
      if (t % plan_.interval == 0) begin_time_block(t / plan_.interval);
      for (int s = 0; s < S; ++s) {
        if (this->is_reset(t, s)) forget(s);
      }
      step(t);
      if (forward_.closed_loop != nullptr) {
        forward_.closed_loop->after_step(t, this->first_, S,
                                         forward_.output + this->place(t, 0, plan_.hidden));
      }
    }
    learn();
    this->matrices_out(A_, forward_.final_A);
  }

 private:
  void begin_time_block(int64_t part) {
    learn();
    if (saved_ && !A_is_zero_) std::copy_n(A_, plan_.matrix(S), saved_.checkpoint(part));
  }

  void forget(int s) {
    this->clear_sample(A_, s);
    this->clear_slots(h_, s, 0, waiting_ + 1);
  }

  // A learns the activities that wait.
  void learn() {
    if (waiting_ == 0) return;
    const D d;
    const T* rates = this->rates_of_latest(waiting_);
    for (int64_t m = 0; m < waiting_; ++m) {
      const T* HWY_RESTRICT h = slot(h_, m);
      T* HWY_RESTRICT rated = slot(rated_h_, m);
      for (int64_t k = 0; k < plan_.presynaptic(S); k += hn::Lanes(d)) {
        hn::Store(hn::Mul(hn::Set(d, rates[m]), hn::Load(d, h + k)), d, rated + k);
      }
    }
    this->add_outer(A_is_zero_ ? T(0) : powers_[waiting_], waiting_, rated_h_, h_, A_);
    A_is_zero_ = false;
    std::copy_n(slot(h_, waiting_), plan_.presynaptic(S), h_);
    waiting_ = 0;
  }

  void step(int64_t t) {
    input_.forward(t);
    this->rows_in(input_.neurons(), input_.width(), slow_);
    this->add_parameter_product(T(1), parameters_.row(kSlowWeight, 0), slot(h_, waiting_), slow_);
    ++waiting_;
    if constexpr (kEnergy) {
      learn();
      std::fill_n(spent_, plan_.presynaptic(S), T(0));
    }
    std::copy_n(slow_, plan_.presynaptic(S), s_);
    activate(t, 0, s_);
    for (int64_t k = 1; k <= forward_.variant.inner_steps; ++k) {
      if constexpr (kEnergy) measure_energy();
      recall();
      T* const s = k < forward_.variant.inner_steps ? s_ : slot(h_, waiting_);
      const D d;
      for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
        hn::Store(hn::Add(hn::Load(d, slow_ + i), hn::Load(d, fast_ + i)), d, s + i);
      }
      activate(t, k, s);
    }
    this->presynaptic_out(slot(h_, waiting_), t, forward_.output);
    if constexpr (kEnergy) this->presynaptic_out(spent_, t, forward_.energy);
  }

  // fast = A[t] s
  void recall() {
    if (!A_is_zero_) dots_of_matrix<false>(fast_);
    this->add_recalled(A_is_zero_ ? T(0) : powers_[waiting_], waiting_,
                       this->rates_of_latest(waiting_), h_, s_, h_, fast_);
  }

  void measure_energy() {
    dots_of_matrix<true>(spent_once_);
    const D d;
    for (int64_t i = 0; i < plan_.presynaptic(S); i += hn::Lanes(d)) {
      hn::Store(hn::Add(hn::Load(d, spent_ + i), hn::Load(d, spent_once_ + i)), d, spent_ + i);
    }
  }

  template <bool kMagnitudes>
  void dots_of_matrix(T* to) const {
    std::fill_n(to, plan_.presynaptic(S), T(0));
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      dot_rows<kMagnitudes>(layout_, plan_.hidden, A_ + at, matrix_row_, s_ + at, to + at);
    }
  }

  // In place: tanh(LN()), and what backward needs of it.
  void activate(int64_t t, int64_t k, T* values) const {
    for (int v = 0; v < kVectors; ++v) activate_samples(t, k, v, values + layout_.presynaptic(v, 0));
  }

  HWY_INLINE void activate_samples(int64_t t, int64_t k, int v, T* HWY_RESTRICT values) const {
    const D d;
    const Layout layout = layout_;
    const T* HWY_RESTRICT gain = this->gain_;
    const T* HWY_RESTRICT offset = this->offset_;
    T* HWY_RESTRICT saved_s = nullptr;
    T* HWY_RESTRICT saved_n = nullptr;
    V inverse = hn::Set(d, T(1));
    if (saved_ && k < forward_.variant.inner_steps) {
      saved_s = this->activity(t, k) + layout.presynaptic(v, 0);
    }
    if (forward_.variant.layer_norm) {
      inverse = centre(layout, this->shares_, values);
      if (saved_) {
        saved_n = this->normalised(t, k) + layout.presynaptic(v, 0);
        store_of_samples<Layout>(inverse, v, saved_.samples(t, k));
      }
    }
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const int64_t at = layout.presynaptic(0, j);
      const V n = hn::Mul(hn::Load(d, values + at), inverse);
      const V s = hn::Tanh(d, hn::MulAdd(n, common<Layout>(gain + j), common<Layout>(offset + j)));
      hn::Store(s, d, values + at);
      if (saved_s != nullptr) hn::StoreU(s, d, saved_s + at);
      if (saved_n != nullptr) hn::StoreU(n, d, saved_n + at);
    }
  }

  const PaddedMatrices<T>& parameters_;  // W transposed
  T* const A_;
  T* const h_;  // the activities that wait, then the latest
  T* const rated_h_;
  T* const slow_;  // p
  T* const fast_;  // A s
  T* const s_;
  T* const spent_;
  T* const spent_once_;
  const InputProjection<T, S> input_;
  bool A_is_zero_;
  int64_t waiting_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
