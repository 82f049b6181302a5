// The two layouts of a group's values, as plastic_plan.h has them, in the vectors of a target: what
// a unit's step says once for both. Compiled once a target.
//
// A step goes over its rows kRows at a time, and over their sources:
//   for (int64_t j = 0; j < layout.width; j += Layout::kStep)
//     for r < kRows, v < kVectors:     vector q = r * kVectors + v of kLanes

#if defined(STPN_KERNELS_PLASTIC_LAYOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_PLASTIC_LAYOUT_INL_H_
#undef STPN_KERNELS_PLASTIC_LAYOUT_INL_H_
#else
#define STPN_KERNELS_PLASTIC_LAYOUT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/plastic_plan.h"
#include "stpn/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T, int S>
struct Along {
  using Value = T;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr int kSamples = S;
  static constexpr int kVectors = S;
  static constexpr int kRows = kTogether / S;
  static constexpr int kLanes = kRows * kVectors;
  static constexpr int64_t kStep = hn::MaxLanes(D());

  explicit Along(const PlasticPlan<T>& plan) : width(plan.row) {}

  // Offsets of vectors: of a presynaptic array; of rows of a matrix, from the first of kRows on; of
  // rows of sums of gradients, likewise.
  HWY_INLINE int64_t source(int v, int64_t j) const { return v * width + j; }
  HWY_INLINE int64_t synapse(int q, int64_t j) const { return q * width + j; }
  HWY_INLINE int64_t gradient(int r, int64_t j) const { return r * width + j; }
  // Offset of one value of a presynaptic array.
  HWY_INLINE int64_t value(int s, int64_t j) const { return s * width + j; }
  // Sources from this one on are those from `first` on, and some before.
  static int64_t vector_of(int64_t first) { return first / kStep * kStep; }

  // Of padded rows of parameters, from the first of kRows on.
  HWY_INLINE V parameter(const T* HWY_RESTRICT rows, int r, int64_t j) const {
    return hn::Load(D(), rows + r * width + j);
  }
  // Of unit values, from those of the first of kRows on.
  static HWY_INLINE V unit(const T* HWY_RESTRICT units, int q) { return hn::Set(D(), units[q]); }
  // One value a sample.
  static HWY_INLINE V sample(const T* HWY_RESTRICT values, int v) {
    return hn::Set(D(), values[v]);
  }
  // Sums over the sources, to unit values.
  static HWY_INLINE void store_sums(const V (&sums)[kLanes], T* HWY_RESTRICT units) {
    sums_of_lanes<kLanes>(D(), sums, units);
  }

  const int64_t width;
};

template <typename T>
struct Across {
  using Value = T;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  static constexpr int kSamples = kAcross<T>;
  static constexpr int kVectors = kSamples / static_cast<int>(hn::MaxLanes(D()));
  static constexpr int kRows = std::max(1, kTogether / kVectors);
  static constexpr int kLanes = kRows * kVectors;
  static constexpr int64_t kStep = 1;

  explicit Across(const PlasticPlan<T>& plan) : width(plan.sources), row_(plan.row) {}

  HWY_INLINE int64_t source(int v, int64_t j) const { return j * kSamples + v * hn::Lanes(D()); }
  HWY_INLINE int64_t synapse(int q, int64_t j) const {
    return (q / kVectors * width + j) * kSamples + q % kVectors * hn::Lanes(D());
  }
  HWY_INLINE int64_t gradient(int r, int64_t j) const { return (r * width + j) * hn::Lanes(D()); }
  HWY_INLINE int64_t value(int s, int64_t j) const { return j * kSamples + s; }
  static int64_t vector_of(int64_t first) { return first; }

  HWY_INLINE V parameter(const T* HWY_RESTRICT rows, int r, int64_t j) const {
    return hn::Set(D(), rows[r * row_ + j]);
  }
  static HWY_INLINE V unit(const T* HWY_RESTRICT units, int q) {
    return hn::LoadU(D(), units + q * hn::Lanes(D()));
  }
  static HWY_INLINE V sample(const T* HWY_RESTRICT values, int v) {
    return hn::Load(D(), values + v * hn::Lanes(D()));
  }
  static HWY_INLINE void store_sums(const V (&sums)[kLanes], T* HWY_RESTRICT units) {
    STPN_UNROLL
    for (int q = 0; q < kLanes; ++q) hn::Store(sums[q], D(), units + q * hn::Lanes(D()));
  }

  const int64_t width;

 private:
  const int64_t row_;
};

#if HWY_TARGET != HWY_SCALAR
// Transposes a square of 128-bit vectors.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void transpose(D d, V (&rows)[4]) {
  const V a = hn::InterleaveLower(d, rows[0], rows[2]);
  const V b = hn::InterleaveLower(d, rows[1], rows[3]);
  const V c = hn::InterleaveUpper(d, rows[0], rows[2]);
  const V e = hn::InterleaveUpper(d, rows[1], rows[3]);
  rows[0] = hn::InterleaveLower(d, a, b);
  rows[1] = hn::InterleaveUpper(d, a, b);
  rows[2] = hn::InterleaveLower(d, c, e);
  rows[3] = hn::InterleaveUpper(d, c, e);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void transpose(D d, V (&rows)[2]) {
  const V first = hn::InterleaveLower(d, rows[0], rows[1]);
  rows[1] = hn::InterleaveUpper(d, rows[0], rows[1]);
  rows[0] = first;
}
#endif

// to[j * to_stride + i] = from[i * from_stride + j]
template <typename T>
HWY_INLINE void transpose(const T* HWY_RESTRICT from, int64_t from_stride, int64_t rows,
                          int64_t columns, T* HWY_RESTRICT to, int64_t to_stride) {
  int64_t whole_rows = 0;
  int64_t whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  constexpr int N = 16 / sizeof(T);
  const hn::FixedTag<T, N> d;
  whole_rows = rows / N * N;
  whole_columns = columns / N * N;
  for (int64_t i = 0; i < whole_rows; i += N) {
    for (int64_t j = 0; j < whole_columns; j += N) {
      hn::Vec<decltype(d)> square[N];
      STPN_UNROLL
      for (int r = 0; r < N; ++r) square[r] = hn::LoadU(d, from + (i + r) * from_stride + j);
      transpose(d, square);
      STPN_UNROLL
      for (int r = 0; r < N; ++r) hn::StoreU(square[r], d, to + (j + r) * to_stride + i);
    }
  }
#endif
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
}

// All samples' values between arrays of the caller's, one sample `stride` after the other, and the
// first sources of a presynaptic array, of which the others become zero.
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE void from_samples(const Layout& layout, const T* from, int64_t stride, int64_t count,
                             T* to) {
  if constexpr (Layout::kSamples == kAcross<T>) {
    transpose(from, stride, Layout::kSamples, count, to, Layout::kSamples);
  } else {
    for (int s = 0; s < Layout::kSamples; ++s) {
      T* const sample = to + layout.value(s, 0);
      std::fill(std::copy_n(from + s * stride, count, sample), sample + layout.width, T(0));
    }
  }
}
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE void to_samples(const Layout& layout, const T* from, int64_t count, T* to,
                           int64_t stride) {
  if constexpr (Layout::kSamples == kAcross<T>) {
    transpose(from, Layout::kSamples, count, Layout::kSamples, to, stride);
  } else {
    for (int s = 0; s < Layout::kSamples; ++s) {
      std::copy_n(from + layout.value(s, 0), count, to + s * stride);
    }
  }
}

// The gradient of presynaptic activity, in registers for the rows that go together.
template <class Layout, bool kUsed>
struct PresynapticGradient {
  using T = typename Layout::Value;
  using D = typename Layout::D;

  // Sources before `from` need none.
  HWY_INLINE PresynapticGradient(const Layout& its_layout, T* HWY_RESTRICT its_memory, int64_t from)
      : layout(its_layout), memory(its_memory), first(from) {
    STPN_UNROLL
    for (int v = 0; v < Layout::kVectors; ++v) sums[v] = hn::Zero(D());
  }
  HWY_INLINE void load(int64_t j) {
    wanted = kUsed && j >= first;
    if (!wanted) return;
    STPN_UNROLL
    for (int v = 0; v < Layout::kVectors; ++v) {
      sums[v] = hn::Load(D(), memory + layout.source(v, j));
    }
  }
  HWY_INLINE void store(int64_t j) const {
    if (!wanted) return;
    STPN_UNROLL
    for (int v = 0; v < Layout::kVectors; ++v) {
      hn::Store(sums[v], D(), memory + layout.source(v, j));
    }
  }

  const Layout layout;
  T* const HWY_RESTRICT memory;
  const int64_t first;
  bool wanted = false;
  typename Layout::V sums[Layout::kVectors];
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
