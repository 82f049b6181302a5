// What a group of samples of fast weights has both forward and backward. Compiled once a target.
//
// A changes by one outer product a step, so it needs no pass over it at each. Within a block of
// steps it stays A0, what it was before the block; what it learns meanwhile waits as activities:
//   A[t] s = decay^m A0 s + sum of rate decay^(t-u) h_u (h_u . s)    over the steps u <= t of it,
// with m steps from A0 to A[t], and h_u the activity before step u. At the end of the block all of
// them go into A at once. A reset clears a sample of A0 and of the h_u before it.

#if defined(STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/fast_weights/cpu_layout.h"
#include "stpn/kernels/cpu/layer_norm-inl.h"
#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/cpu/products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// All values of units are presynaptic arrays here; a history is one after the other of them.
template <class Layout>
class FastWeightsGroup : public Group<Layout> {
  using Base = Group<Layout>;

 protected:
  using Base::saved_;
  using Base::kVectors;
  using Base::layout_;
  using Base::plan_;
  using Base::S;
  using typename Base::D;
  using typename Base::Plan;
  using typename Base::T;
  using typename Base::V;

  static int64_t common_scratch(const Plan& plan, int64_t waiting) {
    return S * dots_width(waiting) + plan.padded(plan.interval + 1) + rates(plan.interval) +
           3 * plan.row;
  }

  // `waiting`: outer products of a block, at most.
  FastWeightsGroup(const Plan& plan, int64_t first, T* saved, const FastWeightsForwardParams<T>& forward,
                   int64_t waiting, Scratch<T>& scratch)
      : Base(plan, first, saved, forward.reset),
        forward_(forward),
        matrix_row_(this->row_of(1)),
        history_step_(plan.presynaptic(S)),
        dots_width_(dots_width(waiting)),
        dots_(scratch.take(S * dots_width_)),
        powers_(scratch.take(plan.interval + 1)),
        rates_(scratch.take(rates(plan.interval))),
        gain_(scratch.take(plan.row)),
        offset_(scratch.take(plan.row)),
        shares_(scratch.take(plan.row)) {
    const T decay = static_cast<T>(forward.variant.decay);
    powers_[0] = T(1);
    for (int64_t k = 0; k < plan.interval; ++k) powers_[k + 1] = decay * powers_[k];
    for (int64_t k = 0; k < plan.interval; ++k) {
      rates_[plan.interval - 1 - k] = static_cast<T>(forward.variant.rate) * powers_[k];
    }
    std::fill_n(gain_, plan.hidden, T(1));
    std::fill_n(shares_, plan.hidden, T(1) / static_cast<T>(plan.hidden));
    if (!forward.variant.layer_norm) return;
    std::copy_n(forward.layer_norm_weight, plan.hidden, gain_);
    std::copy_n(forward.layer_norm_bias, plan.hidden, offset_);
  }

  // Of this many values that are read a vector at a time from any of them on.
  static int64_t rates(int64_t count) { return Plan::padded(count) + Plan::padded(1); }
  // Of this many slots, with some that may be read, but mean nothing.
  static int64_t history(const Plan& plan, int64_t slots) {
    return (slots + kTileRows) * plan.presynaptic(S);
  }
  T* slot(T* history, int64_t m) const { return history + m * history_step_; }
  void clear_slots(T* history, int s, int64_t begin, int64_t end) const {
    for (int64_t m = begin; m < end; ++m) {
      this->clear_presynaptic(s, layout_.width, 0, slot(history, m));
    }
  }
  // With zeros where a row is padded: nothing of a history is written before its step.
  void rows_in(const T* rows, int64_t stride, T* to) const {
    this->rows_to_presynaptic(rows, stride, plan_.hidden, 0, to);
    for (int s = 0; s < S && layout_.width > plan_.hidden; ++s) {
      this->clear_presynaptic(s, layout_.width - plan_.hidden, plan_.hidden, to);
    }
  }
  // Of step t in a (T, B, H) array, or of the state in a (B, H) array (t = 0).
  void presynaptic_in(const T* from, int64_t t, T* to) const {
    rows_in(from + this->place(t, 0, plan_.hidden), plan_.hidden, to);
  }
  void presynaptic_out(const T* from, int64_t t, T* to) const {
    this->presynaptic_to_rows(from, 0, plan_.hidden, to + this->place(t, 0, plan_.hidden),
                          plan_.hidden);
  }
  // For steps to come: what follows it in memory is another group's, so no processor guesses it.
  static void prefetch(const T* values, int64_t count) {
    for (int64_t k = 0; k < count; k += 64 / sizeof(T)) hwy::Prefetch(values + k);
  }
  void prefetch_presynaptic(const T* from, int64_t t) const {
    if (from == nullptr || t < 0 || t >= plan_.steps) return;
    prefetch(from + this->place(t, 0, plan_.hidden), S * plan_.hidden);
  }
  // A matrix of each sample, (B, H, H).
  void matrices_in(const T* from, T* to) const {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      rows_in(from + this->place(0, 0, matrix_size()) + i * plan_.hidden, matrix_size(),
              to + i * matrix_row_);
    }
  }
  void matrices_out(const T* from, T* to) const {
    for (int64_t i = 0; i < plan_.hidden; ++i) {
      this->presynaptic_to_rows(from + i * matrix_row_, 0, plan_.hidden,
                            to + this->place(0, 0, matrix_size()) + i * plan_.hidden,
                            matrix_size());
    }
  }
  T* activity(int64_t t, int64_t k) const { return saved_.presynaptic(t, saved_activity(k)); }
  T* normalised(int64_t t, int64_t k) const {
    return saved_.presynaptic(t, saved_normalised(forward_.variant, k));
  }

  bool starts_at_zero() const { return this->is_zero({forward_.initial_A, plan_.hidden, 0}); }

  // rate decay^k of the latest `count` steps, for k from count - 1 to 0.
  const T* rates_of_latest(int64_t count) const { return rates_ + plan_.interval - count; }

  // to = scale * to + sum over k < count of rates[k] * (rows_k . x) onto_k, of histories
  void add_recalled(T scale, int64_t count, const T* rates, const T* rows, const T* x,
                    const T* onto, T* to) const {
    const D d;
    const Layout layout = layout_;
    const int64_t dots_v = S == kInterleavedSamples<T> ? hn::Lanes(d) : dots_width_;
    const int64_t whole = (count + kTileRows - 1) / kTileRows * kTileRows;
    for (int v = 0; v < kVectors; ++v) {
      T* HWY_RESTRICT dots = dots_ + v * dots_v;
      dot_rows(layout, whole, rows + layout.presynaptic(v, 0), history_step_, x + layout.presynaptic(v, 0),
               dots);
      for (int64_t k = 0; k < count; k += Layout::kColumns) {
        T* HWY_RESTRICT at = dots + layout.presynaptic(0, k);
        hn::Store(hn::Mul(hn::Load(d, at), common<Layout>(rates + k)), d, at);
      }
    }
    const int64_t v = layout.presynaptic(1, 0);
    sum_rows<RowsOf::own, kVectors>(layout, scale, count, {dots_, dots_v, layout.presynaptic(0, 1)},
                                    {onto, v, history_step_}, to, v);
  }

  // matrix = scale * matrix + sum over k < count of a_k outer b_k, of histories
  void add_outer(T scale, int64_t count, const T* a, const T* b, T* matrix) const {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      add_outer_products<Layout, T>(layout_, scale, plan_.hidden, count,
                                    {a + at, layout_.presynaptic(0, 1), history_step_},
                                    {b + at, 0, history_step_}, matrix + at, matrix_row_);
    }
  }

  // to = scale * to + the product of a parameter matrix, transposed, with x
  void add_parameter_product(T scale, const T* parameter, const T* x, T* to) const {
    const int64_t v = layout_.presynaptic(1, 0);
    sum_rows<RowsOf::parameters, kVectors>(layout_, scale, plan_.hidden,
                                           {x, v, layout_.presynaptic(0, 1)}, {parameter, 0, plan_.row},
                                           to, v);
  }

  int64_t matrix_size() const { return plan_.hidden * plan_.hidden; }

  const FastWeightsForwardParams<T>& forward_;
  const int64_t matrix_row_, history_step_;

 private:
  static int64_t dots_width(int64_t waiting) { return Plan::padded(waiting + kTileRows); }
  const int64_t dots_width_;
  T* const dots_;

 protected:
  T* const powers_;  // decay^k
  T* const rates_;   // rate decay^k, k downwards
  // Of the layer norm, common to all samples. The last: 1 / H.
  T* const gain_;
  T* const offset_;
  T* const shares_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
