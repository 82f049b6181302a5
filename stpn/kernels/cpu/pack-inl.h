// SIMD vectors in packs of N, with operators, so that the inner loops of a unit read like its
// equations; and the sweep over the rows of a matrix that those loops run in. Compiled once for
// each SIMD target.
//
// A register tile is Layout::kRows rows of synapses, of all samples of a group: kTileVectors
// vectors at each presynaptic index. A Tile is the part of it whose sums stay in registers during
// one sweep over the presynaptic index j. An operator acts on all vectors of a pack before the next
// operator starts: the vectors are independent of each other, which hides the latency of each
// operation.

#if defined(STPN_KERNELS_CPU_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_PACK_INL_H_
#undef STPN_KERNELS_CPU_PACK_INL_H_
#else
#define STPN_KERNELS_CPU_PACK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/layout-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class V, int N>
struct Pack {
  V v[N];
};

template <class V, int N>
HWY_INLINE Pack<V, N> operator+(const Pack<V, N>& a, const Pack<V, N>& b) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = hn::Add(a.v[p], b.v[p]);
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> operator-(const Pack<V, N>& a, const Pack<V, N>& b) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = hn::Sub(a.v[p], b.v[p]);
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> operator*(const Pack<V, N>& a, const Pack<V, N>& b) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = hn::Mul(a.v[p], b.v[p]);
  return result;
}

// a * b + c
template <class V, int N>
HWY_INLINE Pack<V, N> fma(const Pack<V, N>& a, const Pack<V, N>& b, const Pack<V, N>& c) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = hn::MulAdd(a.v[p], b.v[p], c.v[p]);
  return result;
}

// a - b * c
template <class V, int N>
HWY_INLINE Pack<V, N> minus_product(const Pack<V, N>& a, const Pack<V, N>& b, const Pack<V, N>& c) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = hn::NegMulAdd(b.v[p], c.v[p], a.v[p]);
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> at_most(const Pack<V, N>& limit, const Pack<V, N>& a) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = at_most(limit.v[p], a.v[p]);
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> at_least(const Pack<V, N>& limit, const Pack<V, N>& a) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = at_least(limit.v[p], a.v[p]);
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> abs(const Pack<V, N>& a) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = hn::Abs(a.v[p]);
  return result;
}

// 1, -1 or 0; NaN where a is.
template <class V, int N>
HWY_INLINE Pack<V, N> sign(const Pack<V, N>& a) {
  const hn::DFromV<V> d;
  const V one = hn::Set(d, hn::TFromD<decltype(d)>(1));
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) {
    const V negative = hn::IfThenElse(hn::Lt(a.v[p], hn::Zero(d)), hn::Neg(one), a.v[p]);
    result.v[p] = hn::IfThenElse(hn::Gt(a.v[p], hn::Zero(d)), one, negative);
  }
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> clamped(const Pack<V, N>& a, V bound) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = clamped(a.v[p], bound);
  return result;
}

template <class V, int N>
HWY_INLINE Pack<V, N> through_clamp(const Pack<V, N>& a, V bound, const Pack<V, N>& gradient) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = through_clamp(a.v[p], bound, gradient.v[p]);
  return result;
}

// `result` where a >= 0, else 0; NaN where a is.
template <class D, class V, int N>
HWY_INLINE Pack<V, N> if_not_negative(D d, const Pack<V, N>& a, const Pack<V, N>& result) {
  Pack<V, N> masked;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) {
    const V positive = hn::IfThenElseZero(hn::Ge(a.v[p], hn::Zero(d)), result.v[p]);
    masked.v[p] = hn::IfThenElse(hn::IsNaN(a.v[p]), a.v[p], positive);
  }
  return masked;
}

// A pack of one vector a row, each repeated for all vectors of its row in a pack of N.
template <int N, class V, int R>
HWY_INLINE Pack<V, N> broadcast(const Pack<V, R>& rows) {
  Pack<V, N> result;
  STPN_UNROLL
  for (int p = 0; p < N; ++p) result.v[p] = rows.v[p / (N / R)];
  return result;
}

// rows[r] += sum of a * b over the vectors of row r.
template <class V, int N, int R>
HWY_INLINE void add_products(const Pack<V, N>& a, const Pack<V, N>& b, Pack<V, R>& rows) {
  STPN_UNROLL
  for (int p = 0; p < N; ++p) {
    rows.v[p / (N / R)] = hn::MulAdd(a.v[p], b.v[p], rows.v[p / (N / R)]);
  }
}

// At most kMaxVectors of the vectors of a register tile: a few whole rows, or a part of the samples
// of one row. `part`, of kParts, says which.
template <class Layout, int kMaxVectors>
class Tile {
 public:
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int kTileVectors = std::min(kMaxVectors, Layout::kTileVectors);
  static constexpr int kParts = Layout::kTileVectors / kTileVectors;
  static constexpr int kVectors = std::min(kTileVectors, Layout::kVectors);  // of each row
  static constexpr int kRows = kTileVectors / kVectors;
  static_assert(Layout::kTileVectors % kTileVectors == 0 && Layout::kVectors % kVectors == 0);
  using Values = Pack<V, kTileVectors>;
  using RowValues = Pack<V, kRows>;  // one vector a row: a parameter that all samples share

  HWY_INLINE Tile(const Layout& layout, int part) : layout_(layout), first_(part * kTileVectors) {}

  static HWY_INLINE Values zero() {
    Values result;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) result.v[p] = hn::Zero(D());
    return result;
  }
  static HWY_INLINE Values constant(T value) {
    Values result;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) result.v[p] = hn::Set(D(), value);
    return result;
  }
  // All pointers below are to the values of the register tile's first row; j is a presynaptic
  // index. Neuron values, the same for all j.
  HWY_INLINE Values neurons(const T* HWY_RESTRICT neurons) const {
    Values result;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) result.v[p] = Layout::neuron(neurons, first_ + p);
    return result;
  }
  // One value a sample, the same for all rows and all j.
  HWY_INLINE Values samples(const T* HWY_RESTRICT samples) const {
    Values result;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) result.v[p] = Layout::sample(samples, vector(p));
    return result;
  }
  HWY_INLINE Values presynaptic(const T* HWY_RESTRICT values, int64_t j) const {
    Values result;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      result.v[p] = hn::Load(D(), values + layout_.presynaptic(vector(p), j));
    }
    return result;
  }
  HWY_INLINE Values synapses(const T* HWY_RESTRICT rows, int64_t j) const {
    Values result;
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      result.v[p] = hn::Load(D(), rows + layout_.synapse(first_ + p, j));
    }
    return result;
  }
  HWY_INLINE void store_synapses(const Values& values, T* HWY_RESTRICT rows, int64_t j) const {
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) {
      hn::Store(values.v[p], D(), rows + layout_.synapse(first_ + p, j));
    }
  }
  HWY_INLINE RowValues parameters(const T* HWY_RESTRICT rows, int64_t j) const {
    RowValues result;
    STPN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      result.v[r] = layout_.parameter(rows, row(r * kVectors), j);
    }
    return result;
  }
  static HWY_INLINE Values all(const RowValues& rows) { return broadcast<kTileVectors>(rows); }
  static HWY_INLINE RowValues no_gradients() {
    RowValues result;
    STPN_UNROLL
    for (int r = 0; r < kRows; ++r) result.v[r] = hn::Zero(D());
    return result;
  }
  // Sums of the gradients of parameters.
  HWY_INLINE RowValues gradients(const T* HWY_RESTRICT rows, int64_t j) const {
    RowValues result;
    STPN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      result.v[r] = hn::Load(D(), rows + layout_.gradient(row(r * kVectors), j));
    }
    return result;
  }
  HWY_INLINE void store_gradients(const RowValues& values, T* HWY_RESTRICT rows, int64_t j) const {
    STPN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      hn::Store(values.v[r], D(), rows + layout_.gradient(row(r * kVectors), j));
    }
  }
  // Puts this part's sums where they belong among those of the whole register tile.
  HWY_INLINE void put(const Values& sums, V (&of_tile)[Layout::kTileVectors]) const {
    STPN_UNROLL
    for (int p = 0; p < kTileVectors; ++p) of_tile[first_ + p] = sums.v[p];
  }

  HWY_INLINE int row(int p) const { return (first_ + p) / Layout::kVectors; }
  HWY_INLINE int vector(int p) const { return (first_ + p) % Layout::kVectors; }
  HWY_INLINE const Layout& layout() const { return layout_; }

 private:
  const Layout layout_;
  const int first_;
};

// The gradient of a presynaptic array, to which every row adds: in registers between load(j) and
// store(j). With kUsed false, or where it is not wanted, it does nothing.
template <class Tile, class Layout, bool kUsed>
class PresynapticGradient {
  using T = typename Tile::T;
  using D = typename Tile::D;
  using V = typename Tile::V;

 public:
  HWY_INLINE PresynapticGradient(const Tile& tile, T* HWY_RESTRICT values)
      : layout_(tile.layout()), tile_(tile), values_(values) {
    STPN_UNROLL
    for (int v = 0; v < Tile::kVectors; ++v) sums_[v] = hn::Zero(D());
  }
  HWY_INLINE void load(int64_t j, bool wanted = true) {
    wanted_ = kUsed && wanted;
    if (!wanted_) return;
    STPN_UNROLL
    for (int v = 0; v < Tile::kVectors; ++v) {
      sums_[v] = hn::Load(D(), values_ + layout_.presynaptic(tile_.vector(v), j));
    }
  }
  HWY_INLINE bool is_wanted() const { return wanted_; }
  HWY_INLINE void add_product(const typename Tile::Values& a, const typename Tile::Values& b) {
    if (!wanted_) return;
    STPN_UNROLL
    for (int p = 0; p < Tile::kTileVectors; ++p) {
      V& sum = sums_[p % Tile::kVectors];
      sum = hn::MulAdd(a.v[p], b.v[p], sum);
    }
  }
  // The products of one vector, of a tile that is the whole register tile.
  HWY_INLINE void add_product(int v, const Pack<V, 1>& a, const Pack<V, 1>& b) {
    if (wanted_) sums_[v] = hn::MulAdd(a.v[0], b.v[0], sums_[v]);
  }
  HWY_INLINE void store(int64_t j) const {
    if (!wanted_) return;
    STPN_UNROLL
    for (int v = 0; v < Tile::kVectors; ++v) {
      hn::Store(sums_[v], D(), values_ + layout_.presynaptic(tile_.vector(v), j));
    }
  }

 private:
  const Layout layout_;
  const Tile tile_;
  T* const HWY_RESTRICT values_;
  bool wanted_ = false;
  V sums_[Tile::kVectors];
};

// Runs a sweep over the rows [i, i + Layout::kRows) of all samples of a group. A sweep has
//   Tile, Sums     the tile it works in; its sums over j, for the whole register tile
//   Row            the sweep over one tile of these rows:
//     Row(sweep, tile, i)  loads what is the same for all j
//     at(j)                one vector of presynaptic indices; if the sweep has a member first_dz,
//                          at<wanted>(j), wanted from presynaptic input first_dz on: two loops,
//                          because one that asks at each vector is slower
//     end(sums)            puts its sums among those of the register tile
//   store(sums, i) writes the sums of the rows
template <class Sweep, class Layout>
HWY_INLINE void sweep_tile(const Sweep& sweep, const Layout layout, int64_t i) {
  using Tile = typename Sweep::Tile;
  typename Sweep::Sums sums;
  STPN_UNROLL
  for (int part = 0; part < Tile::kParts; ++part) {
    typename Sweep::Row row(sweep, Tile(layout, part), i);
    int64_t j = 0;
    if constexpr (requires { sweep.first_dz; }) {
      for (; j < sweep.first_dz; j += Layout::kColumns) row.template at<false>(j);
      for (; j < layout.width; j += Layout::kColumns) row.template at<true>(j);
    } else {
      for (; j < layout.width; j += Layout::kColumns) row.at(j);
    }
    row.end(sums);
  }
  sweep.store(sums, i);
}

// The same layout with register tiles of one row.
template <class Layout>
struct SingleRows : Layout {
  static constexpr int kRows = 1;
  static constexpr int kTileVectors = Layout::kVectors;
  explicit HWY_INLINE SingleRows(const Layout& layout) : Layout(layout) {}
};

// Runs a sweep over the rows [0, rows), where sweep_from(layout, i) returns the sweep whose first
// row is i. Batch-interleaved rows are not padded: the last few, which do not fill a register tile,
// are taken one by one.
template <class Layout, class SweepFrom>
HWY_INLINE void sweep_rows(const Layout layout, int64_t rows, const SweepFrom& sweep_from) {
  int64_t i = 0;
  for (; i + Layout::kRows <= rows; i += Layout::kRows) {
    sweep_tile(sweep_from(layout, i), layout, 0);
  }
  if constexpr (Layout::kBatchInterleaved && Layout::kRows > 1) {
    const SingleRows<Layout> single(layout);
    for (; i < rows; ++i) sweep_tile(sweep_from(single, i), single, 0);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
