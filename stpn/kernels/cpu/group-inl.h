// What the passes over a group of samples have in common: scratch memory, and copies between the
// group's arrays and the caller's. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_CPU_GROUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_GROUP_INL_H_
#undef STPN_KERNELS_CPU_GROUP_INL_H_
#else
#define STPN_KERNELS_CPU_GROUP_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The scratch memory of a group, from which its passes take arrays: zeros, or not written.
template <typename T>
struct Scratch {
  T* take(int64_t count) {
    T* const piece = zeros;
    zeros += PlasticPlan<T>::padded(count);
    return piece;
  }

  T* take_unwritten(int64_t count) {
    T* const piece = unwritten;
    unwritten += PlasticPlan<T>::padded(count);
    return piece;
  }

  T* zeros;
  T* unwritten;
};

// What the passes over a group have in common: its layout, resets, and copies between its arrays
// and the caller's.
template <class Layout>
class Group {
 protected:
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  using Plan = PlasticPlan<T>;
  static constexpr int S = Layout::kSamples;
  static constexpr int kRows = Layout::kRows;
  static constexpr int kVectors = Layout::kVectors;
  static constexpr int kTileVectors = Layout::kTileVectors;

  // `reset` (T, B) or null.
  Group(const Plan& plan, int64_t first, T* saved, const uint8_t* reset)
      : plan_(plan),
        layout_(plan),
        first_(first),
        saved_(saved, plan),
        rows_{0, plan.rows(S)},
        reset_(reset) {}

  bool is_reset(int64_t t, int s) const {
    return reset_ != nullptr && reset_[t * plan_.batch + first_ + s] != 0;
  }
  bool any_reset(int64_t t) const {
    for (int s = 0; s < S; ++s) {
      if (is_reset(t, s)) return true;
    }
    return false;
  }
  // Offset of the values of step t and sample s in a (T, B, width) array.
  int64_t place(int64_t t, int s, int64_t width) const {
    return (t * plan_.batch + first_ + s) * width;
  }
  // Fetches step t of a (T, B, width) array into the cache, if there is one. A group's steps lie so
  // far apart there that the processor fetches none by itself. HWY_INLINE, as GCC 12 removes calls
  // of functions that do nothing but fetch.
  HWY_INLINE void prefetch(const T* from, int64_t t, int64_t width) const {
    if (from == nullptr || t < 0 || t >= plan_.steps || !has_distant_steps()) return;
    prefetch_all(from + place(t, 0, width), S * width);
  }
  // What forward saves of the neurons at step t, of all or of one neuron block.
  HWY_INLINE void prefetch_saved(int64_t t, int64_t first_neuron = 0) const {
    if (!saved_ || t < 0 || t >= plan_.steps || !has_distant_steps()) return;
    prefetch_all(saved_.neurons(t, 0, first_neuron), saved_.step());
  }
  static bool all_zero(const T* values, int64_t count) {
    return values[0] == T(0) && std::memcmp(values, values + 1, (count - 1) * sizeof(T)) == 0;
  }
  // Offset of the rows of neuron i in a matrix.
  int64_t row_of(int64_t i) const { return i * S * layout_.width; }
  bool has_all_rows() const { return rows_.end - rows_.begin == plan_.rows(S); }
  // Where the rows of this pass lie among the matrices, and how many values they are. A unit with
  // several matrices always has all rows.
  std::pair<int64_t, int64_t> values_of_rows() const {
    if (has_all_rows()) return {0, plan_.all_matrices(S)};
    return {row_of(rows_.begin), row_of(rows_.end - rows_.begin)};
  }
  // The end of the neuron values of some rows, with the padding after the last one.
  int64_t end_of_neurons(Rows rows) const {
    return rows.end == plan_.rows(S) ? plan_.neurons(S) : rows.end * S;
  }

  // Sets a sample's values to zero: in all matrices, or in some rows of one.
  void clear_sample(T* matrices, int s) const {
    clear_sample(matrices, plan_.matrices * plan_.rows(S), s);
  }
  void clear_sample(T* rows, int64_t count, int s) const {
    for (int64_t i = 0; i < count; ++i) clear_presynaptic(s, layout_.width, 0, rows + row_of(i));
  }

  // Columns of a row that have no fast weight are zero: padding, and in the STPN the synapses that
  // are not plastic. The kernels compute there as everywhere. If a factor is NaN or infinite, zero
  // times it is NaN, which a sum over the row would spread; then all columns outside [begin, end)
  // are set to zero again.
  void clear_outside(T* rows, int64_t count, int64_t begin, int64_t end) const {
    for (int64_t i = 0; i < count; ++i) {
      for (int s = 0; s < S; ++s) {
        clear_presynaptic(s, begin, 0, rows + row_of(i));
        clear_presynaptic(s, layout_.width - end, end, rows + row_of(i));
      }
    }
  }
  static bool all_finite(const T* HWY_RESTRICT values, int64_t count) {
    const D d;
    V zeros = hn::Zero(d);  // NaN if there is one
    for (int64_t k = 0; k < count; k += hn::Lanes(d)) {
      zeros = hn::MulAdd(hn::Zero(d), hn::Load(d, values + k), zeros);
    }
    return hn::AllTrue(d, hn::Eq(zeros, hn::Zero(d)));
  }

  // A matrix in the caller's memory, (B, H, columns), which holds our columns from `column` on.
  template <typename U>
  struct CallerMatrix {
    U* values;  // null: zero, or not wanted
    int64_t columns, column;
  };
  bool is_zero(const CallerMatrix<const T>& from) const {
    const int64_t size = plan_.hidden * from.columns;
    return from.values == nullptr || all_zero(from.values + first_ * size, S * size);
  }
  // Copies some rows or all into a matrix of zeros.
  void copy_in(const CallerMatrix<const T>& from, Rows rows, T* to) const {
    const int64_t columns = from.columns;
    for (int64_t i = rows.begin; i < std::min(rows.end, plan_.hidden); ++i) {
      rows_to_presynaptic(from.values + (first_ * plan_.hidden + i) * columns,
                          plan_.hidden * columns, columns, from.column,
                          to + row_of(i - rows.begin));
    }
  }
  void copy_in(const CallerMatrix<const T>& from, T* matrix) const {
    if (!is_zero(from)) copy_in(from, rows_, matrix + row_of(rows_.begin));
  }
  void copy_out(const T* matrix, const CallerMatrix<T>& to) const {
    if (to.values == nullptr) return;
    for (int64_t i = rows_.begin; i < std::min(rows_.end, plan_.hidden); ++i) {
      presynaptic_to_rows(matrix + row_of(i), to.column, to.columns,
                          to.values + (first_ * plan_.hidden + i) * to.columns,
                          plan_.hidden * to.columns);
    }
  }
  // Between `count` values a sample, at `rows + s * stride`, and a presynaptic array or one row of
  // a matrix, from presynaptic index `begin` on.
  void rows_to_presynaptic(const T* HWY_RESTRICT rows, int64_t stride, int64_t count, int64_t begin,
                           T* HWY_RESTRICT to) const {
    if constexpr (Layout::kBatchInterleaved) {
      transpose(rows, stride, S, count, to + layout_.value(0, begin), S);
    } else {
      for (int s = 0; s < S; ++s) copy(rows + s * stride, count, to + layout_.value(s, begin));
    }
  }
  void presynaptic_to_rows(const T* HWY_RESTRICT from, int64_t begin, int64_t count,
                           T* HWY_RESTRICT rows, int64_t stride) const {
    if constexpr (Layout::kBatchInterleaved) {
      transpose(from + layout_.value(0, begin), S, count, S, rows, stride);
    } else {
      for (int s = 0; s < S; ++s) copy(from + layout_.value(s, begin), count, rows + s * stride);
    }
  }
  // Sets `count` values of a sample to zero, from presynaptic index `begin` on.
  void clear_presynaptic(int s, int64_t count, int64_t begin, T* HWY_RESTRICT of) const {
    for (int64_t j = 0; j < count; ++j) of[layout_.value(s, begin + j)] = T(0);
  }
  // The h that step t finds, from the caller's arrays, from presynaptic index `begin` on; zero
  // after a reset, and at the start if there is no initial h.
  void activity_before(const T* initial_h, const T* output, int64_t t, int64_t begin, T* to) const {
    const int64_t hidden = plan_.hidden;
    const T* const before = t > 0 ? output : initial_h;
    if (before != nullptr) {
      const int64_t step = std::max<int64_t>(t - 1, 0);
      rows_to_presynaptic(before + place(step, 0, hidden), hidden, hidden, begin, to);
    }
    for (int s = 0; s < S; ++s) {
      if (before == nullptr || is_reset(t, s)) clear_presynaptic(s, hidden, begin, to);
    }
  }
  // From neuron values to a presynaptic array, from index `begin` on, and back.
  void neurons_to_presynaptic(const T* HWY_RESTRICT neurons, int64_t begin,
                              T* HWY_RESTRICT to) const {
    if constexpr (Layout::kBatchInterleaved) {
      std::copy_n(neurons, plan_.hidden * S, to + layout_.value(0, begin));
    } else {
      neurons_to_rows(neurons, layout_.width, to + begin);
    }
  }
  void presynaptic_to_neurons(const T* HWY_RESTRICT from, int64_t begin,
                              T* HWY_RESTRICT neurons) const {
    if constexpr (Layout::kBatchInterleaved) {
      std::copy_n(from + layout_.value(0, begin), plan_.hidden * S, neurons);
    } else {
      rows_to_neurons(from + begin, layout_.width, neurons);
    }
  }
  // From (S, H) values in rows `stride` apart to neuron values, and back.
  void rows_to_neurons(const T* HWY_RESTRICT rows, int64_t stride, T* HWY_RESTRICT neurons) const {
    transpose(rows, stride, S, plan_.hidden, neurons, S);
  }
  void neurons_to_rows(const T* HWY_RESTRICT neurons, int64_t stride, T* HWY_RESTRICT rows) const {
    transpose(neurons, S, plan_.hidden, S, rows, stride);
  }
  // Between neuron values and step t of a (T, B, H) array; with t = 0, also a (B, H) array of the
  // state, of which null is zeros.
  void neurons_in(const T* from, int64_t t, T* neurons) const {
    if (from == nullptr) return static_cast<void>(std::fill_n(neurons, plan_.hidden * S, T(0)));
    rows_to_neurons(from + place(t, 0, plan_.hidden), plan_.hidden, neurons);
  }
  void neurons_out(const T* neurons, int64_t t, T* to) const {
    neurons_to_rows(neurons, plan_.hidden, to + place(t, 0, plan_.hidden));
  }
  void neurons_out(const T* neurons, int64_t t, Rows rows, T* to) const {
    transpose(neurons + rows.begin * S, S, std::min(rows.end, plan_.hidden) - rows.begin, S,
              to + place(t, 0, plan_.hidden) + rows.begin, plan_.hidden);
  }

  // Arrays of activity have to start as zeros only where rows are padded.
  static int64_t zeros_of_activity(int64_t count) { return Layout::kBatchInterleaved ? 0 : count; }
  static int64_t unwritten_activity(int64_t count) { return count - zeros_of_activity(count); }
  static T* take_activity(Scratch<T>& scratch, int64_t count) {
    return Layout::kBatchInterleaved ? scratch.take_unwritten(count) : scratch.take(count);
  }

  // Whether other groups come between two steps of this one in the caller's memory, and all that is
  // saved exceeds the cache: what a step reads there has to be fetched ahead.
  bool has_distant_steps() const { return plan_.batch > S && !plan_.saved_fits_cache; }

  const Plan& plan_;
  const Layout layout_;
  const int64_t first_;
  const SavedActivations<T, S> saved_;  // null without a backward pass
  Rows rows_;                           // those of this pass: all, or a part of them

 private:
  static HWY_INLINE void prefetch_all(const T* from, int64_t count) {
    constexpr int64_t kLine = 64 / sizeof(T);
    for (int64_t k = 0; k < count; k += kLine) hwy::Prefetch(from + k);
  }

  const uint8_t* const reset_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
