// Fast Weights: what the forward and the backward pass of a group of samples share. Compiled once
// for each SIMD target.
//
// A changes by one outer product per time step, so it need not be updated in memory in every step.
// Time is cut into time blocks of kTimeBlock steps. Within a block the stored matrix stays A0, the
// value before the block, and the outer products of the block's steps stay pending:
//   A[t] s = decay^m A0 s + sum over steps u <= t of the block of rate decay^(t-u) h_u (h_u . s)
// where m is the number of steps of the block up to and including t, and h_u = h[u-1]. At the end
// of the block all pending products are added to A in one sweep. A reset zeroes the sample's A0 and
// its h_u of the steps before the reset.

#if defined(STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_
#undef STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_
#else
#define STPN_KERNELS_FAST_WEIGHTS_CPU_TIME_BLOCK_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/cpu/layer_norm-inl.h"
#include "stpn/kernels/cpu/products-inl.h"
#include "stpn/kernels/fast_weights/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Activities and their gradients are presynaptic arrays (cpu/layout-inl.h) here, also those that
// are not the input of a synapse. A series is several of them one after the other, its entries: one
// for each time step, or each inner step, of a time block.
template <class Layout>
class FastWeightsGroup : public Group<Layout> {
  using Base = Group<Layout>;

 protected:
  using Base::kVectors;
  using Base::layout_;
  using Base::plan_;
  using Base::S;
  using Base::saved_;
  using typename Base::D;
  using typename Base::Plan;
  using typename Base::T;
  using typename Base::V;

  static int64_t common_scratch(const Plan& plan, int64_t products) {
    return S * dots_width(products) + plan.padded(plan.interval + 1) + rates_size(plan.interval) +
           3 * plan.row;
  }

  // `products`: the most outer products that one call of add_low_rank_product sums.
  FastWeightsGroup(const Plan& plan, int64_t first, T* saved,
                   const FastWeightsForwardParams<T>& forward, int64_t products,
                   Scratch<T>& scratch)
      : Base(plan, first, saved, forward.reset),
        forward_(forward),
        matrix_row_(this->row_of(1)),
        entry_stride_(plan.presynaptic(S)),
        dots_width_(dots_width(products)),
        dots_(scratch.take(S * dots_width_)),
        decay_powers_(scratch.take(plan.interval + 1)),
        decayed_rates_(scratch.take(rates_size(plan.interval))),
        gain_(scratch.take(plan.row)),
        offset_(scratch.take(plan.row)),
        mean_weights_(scratch.take(plan.row)) {
    const T decay = static_cast<T>(forward.variant.decay);
    decay_powers_[0] = T(1);
    for (int64_t k = 0; k < plan.interval; ++k) decay_powers_[k + 1] = decay * decay_powers_[k];
    for (int64_t k = 0; k < plan.interval; ++k) {
      decayed_rates_[plan.interval - 1 - k] =
          static_cast<T>(forward.variant.rate) * decay_powers_[k];
    }
    std::fill_n(gain_, plan.hidden, T(1));
    std::fill_n(mean_weights_, plan.hidden, T(1) / static_cast<T>(plan.hidden));
    if (!forward.variant.layer_norm) return;
    std::copy_n(forward.layer_norm_weight, plan.hidden, gain_);
    std::copy_n(forward.layer_norm_bias, plan.hidden, offset_);
  }

  // Size of an array of `count` rates of which a whole vector may be loaded from any index on.
  static int64_t rates_size(int64_t count) { return Plan::padded(count) + Plan::padded(1); }
  // Size of a series of `entries`. It has room for a few more, which register tiles read and whose
  // values do not matter.
  static int64_t series_size(const Plan& plan, int64_t entries) {
    return (entries + kTileRows) * plan.presynaptic(S);
  }
  // Entry m of a series.
  T* entry(T* series, int64_t m) const { return series + m * entry_stride_; }
  // Zeroes sample s in the entries [begin, end).
  void clear_entries(T* series, int s, int64_t begin, int64_t end) const {
    for (int64_t m = begin; m < end; ++m) {
      this->clear_presynaptic(s, layout_.width, 0, entry(series, m));
    }
  }
  // Loads rows of H values, one per sample and `stride` apart, into a presynaptic array. Zeroes the
  // padding too, because a series is not initialised.
  void rows_in(const T* rows, int64_t stride, T* to) const {
    this->rows_to_presynaptic(rows, stride, plan_.hidden, 0, to);
    for (int s = 0; s < S && layout_.width > plan_.hidden; ++s) {
      this->clear_presynaptic(s, layout_.width - plan_.hidden, plan_.hidden, to);
    }
  }
  // Between a presynaptic array and step t of an array (T, B, H), or t = 0 of a state (B, H); null:
  // zeros.
  void presynaptic_in(const T* from, int64_t t, T* to) const {
    if (from == nullptr) return static_cast<void>(std::fill_n(to, plan_.presynaptic(S), T(0)));
    rows_in(from + this->place(t, 0, plan_.hidden), plan_.hidden, to);
  }
  void presynaptic_out(const T* from, int64_t t, T* to) const {
    this->presynaptic_to_rows(from, 0, plan_.hidden, to + this->place(t, 0, plan_.hidden),
                              plan_.hidden);
  }
  // Prefetches what a later step reads. The hardware does not predict it, because the next values
  // in memory belong to another group.
  static void prefetch(const T* values, int64_t count) {
    for (int64_t k = 0; k < count; k += 64 / sizeof(T)) hwy::Prefetch(values + k);
  }
  void prefetch_presynaptic(const T* from, int64_t t) const {
    if (from == nullptr || t < 0 || t >= plan_.steps) return;
    prefetch(from + this->place(t, 0, plan_.hidden), S * plan_.hidden);
  }
  // Between a group's matrices and an array (B, H, H).
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
  // The saved s_k of step t, k < S, and the saved output of its layer norm before gain and offset.
  T* activity(int64_t t, int64_t k) const { return saved_.presynaptic(t, saved_activity(k)); }
  T* normalised(int64_t t, int64_t k) const {
    return saved_.presynaptic(t, saved_normalised(forward_.variant, k));
  }

  // Whether the initial A of all samples is zero.
  bool starts_at_zero() const { return this->is_zero({forward_.initial_A, plan_.hidden, 0}); }

  // The factors of the latest `count` pending outer products, oldest first: rate decay^k for k from
  // count - 1 down to 0.
  const T* latest_decayed_rates(int64_t count) const {
    return decayed_rates_ + plan_.interval - count;
  }

  // to = scale * to + M x, with the low-rank matrix M = sum over k < count of rates[k] b_k outer
  // a_k; a_k and b_k are the entries of the series a and b.
  void add_low_rank_product(T scale, int64_t count, const T* rates, const T* a, const T* x,
                            const T* b, T* to) const {
    const D d;
    const Layout layout = layout_;
    const int64_t dots_v = S == kInterleavedSamples<T> ? hn::Lanes(d) : dots_width_;
    const int64_t whole = (count + kTileRows - 1) / kTileRows * kTileRows;
    for (int v = 0; v < kVectors; ++v) {
      T* HWY_RESTRICT dots = dots_ + v * dots_v;
      dot_rows(layout, whole, a + layout.presynaptic(v, 0), entry_stride_,
               x + layout.presynaptic(v, 0), dots);
      for (int64_t k = 0; k < count; k += Layout::kColumns) {
        T* HWY_RESTRICT at = dots + layout.presynaptic(0, k);
        hn::Store(hn::Mul(hn::Load(d, at), common<Layout>(rates + k)), d, at);
      }
    }
    const int64_t v = layout.presynaptic(1, 0);
    sum_rows<RowsOf::own, kVectors>(layout, scale, count, {dots_, dots_v, layout.presynaptic(0, 1)},
                                    {b, v, entry_stride_}, to, v);
  }

  // matrix = scale * matrix + sum over k < count of a_k outer b_k, entries of the series a and b
  void add_outer(T scale, int64_t count, const T* a, const T* b, T* matrix) const {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = layout_.presynaptic(v, 0);
      add_outer_products<Layout, T>(layout_, scale, plan_.hidden, count,
                                    {a + at, layout_.presynaptic(0, 1), entry_stride_},
                                    {b + at, 0, entry_stride_}, matrix + at, matrix_row_);
    }
  }

  // to = scale * to + parameter^T x, for a padded parameter matrix
  void add_parameter_product(T scale, const T* parameter, const T* x, T* to) const {
    const int64_t v = layout_.presynaptic(1, 0);
    sum_rows<RowsOf::parameters, kVectors>(layout_, scale, plan_.hidden,
                                           {x, v, layout_.presynaptic(0, 1)},
                                           {parameter, 0, plan_.row}, to, v);
  }

  int64_t matrix_size() const { return plan_.hidden * plan_.hidden; }

  const FastWeightsForwardParams<T>& forward_;
  const int64_t matrix_row_, entry_stride_;

 private:
  static int64_t dots_width(int64_t products) { return Plan::padded(products + kTileRows); }
  const int64_t dots_width_;
  T* const dots_;

 protected:
  T* const decay_powers_;   // decay^k for k = 0, 1 .. interval
  T* const decayed_rates_;  // rate decay^k for k = interval - 1 .. 0
  // The layer norm's gain and offset, (row), and what its mean weights each neuron with: 1 / H, and
  // 0 in the padding.
  T* const gain_;
  T* const offset_;
  T* const mean_weights_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
