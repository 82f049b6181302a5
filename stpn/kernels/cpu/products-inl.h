// Products of a group's matrices and vectors, in either layout, one register tile at a time.
// Compiled once for each SIMD target.
//
// The vectors of these products are presynaptic arrays. Row-vectorised, a call works on one sample;
// batch-interleaved, on as many samples as a SIMD vector has lanes. Pointers are to the first value
// of those samples, layout.presynaptic(v, 0), from where presynaptic index j is
// layout.presynaptic(0, j) values away.

#if defined(STPN_KERNELS_CPU_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_PRODUCTS_INL_H_
#undef STPN_KERNELS_CPU_PRODUCTS_INL_H_
#else
#define STPN_KERNELS_CPU_PRODUCTS_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector of values that are the same for all samples, from a presynaptic index on.
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE typename Layout::V common(const T* HWY_RESTRICT values) {
  const typename Layout::D d;
  if constexpr (Layout::kSamples == kInterleavedSamples<T>) {
    return hn::Set(d, *values);
  } else {
    return hn::LoadU(d, values);
  }
}

// Reduces the sums over j of R rows and stores them next to each other.
template <class Layout, int R, typename T = typename Layout::Value>
HWY_INLINE void store_row_sums(const typename Layout::V (&sums)[R], T* HWY_RESTRICT to) {
  const typename Layout::D d;
  if constexpr (Layout::kSamples == kInterleavedSamples<T>) {
    STPN_UNROLL
    for (int r = 0; r < R; ++r) hn::StoreU(sums[r], d, to + r * Layout::kSamples);
  } else {
    sums_of_lanes<R>(d, sums, to);
  }
}

// The sum over j of each sample, in all of the sample's lanes.
template <class Layout>
HWY_INLINE typename Layout::V over_fan_in(typename Layout::V sums) {
  if constexpr (Layout::kSamples == kInterleavedSamples<typename Layout::Value>) {
    return sums;
  } else {
    return hn::SumOfLanes(typename Layout::D(), sums);
  }
}

// Stores one value a sample into an array [S], from vector v of samples.
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE void store_of_samples(typename Layout::V values, int v, T* HWY_RESTRICT to) {
  const typename Layout::D d;
  if constexpr (Layout::kSamples == kInterleavedSamples<T>) {
    hn::StoreU(values, d, to + v * hn::Lanes(d));
  } else {
    to[v] = hn::GetLane(values);
  }
}

// A two-dimensional array with strides: element (vector, index), which may be a value or a row.
template <typename T>
struct StridedArray {
  T* first;
  int64_t vector_stride, index_stride;

  HWY_INLINE T* at(int64_t vector, int64_t index) const {
    return first + vector * vector_stride + index * index_stride;
  }
  HWY_INLINE StridedArray from(int64_t vector) const {
    return {at(vector, 0), vector_stride, index_stride};
  }
};

// What the rows of a product are rows of.
enum class RowsOf {
  parameters,  // a parameter matrix that all samples share
  shared,      // one matrix for all r
  own          // another matrix for each r
};

// sums[r][n] += sum over k of factor (r, k) * row (r, k)[j + n]
template <RowsOf kRows, int R, int N, class Layout, typename T = typename Layout::Value>
HWY_INLINE void add_products(const Layout& layout, int64_t j, int64_t count,
                             const StridedArray<const T>& factors,
                             const StridedArray<const T>& rows, typename Layout::V (&sums)[R][N]) {
  using V = typename Layout::V;
  const typename Layout::D d;
  const auto load = [&](int64_t r, int64_t k, int n) HWY_ATTR {
    const int64_t column = j + n * Layout::kColumns;
    if constexpr (kRows == RowsOf::parameters) {
      return common<Layout>(rows.at(0, k) + column);
    } else {
      return hn::LoadU(d, rows.at(r, k) + layout.presynaptic(0, column));
    }
  };
  for (int64_t k = 0; k < count; ++k) {
    V row[N];
    STPN_UNROLL
    for (int n = 0; n < N; ++n) row[n] = load(0, k, n);
    STPN_UNROLL
    for (int r = 0; r < R; ++r) {
      const V factor = Layout::neuron(factors.at(r, k), 0);
      STPN_UNROLL
      for (int n = 0; n < N; ++n) {
        if (kRows == RowsOf::own && r > 0) row[n] = load(r, k, n);
        sums[r][n] = hn::MulAdd(factor, row[n], sums[r][n]);
      }
    }
  }
}

// Vectors of a row in a register tile: as many as there are registers for.
template <class D>
inline constexpr int kTileColumns = hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) == 64 ? 4 : 2;

// to[r] = scale * to[r] + sum over k < count of factor (r, k) * row (r, k), r < R
template <RowsOf kRows, int R, class Layout, typename T = typename Layout::Value>
HWY_INLINE void sum_rows(const Layout layout, T scale, int64_t count,
                         const StridedArray<const T> factors, const StridedArray<const T> rows,
                         T* HWY_RESTRICT to, int64_t to_r) {
  using D = typename Layout::D;
  const D d;
  for_tiles<kTileColumns<D>>(layout.width, Layout::kColumns, [&](auto tile, int64_t j) HWY_ATTR {
    constexpr int N = decltype(tile)::value;
    typename Layout::V sums[R][N];
    STPN_UNROLL
    for (int r = 0; r < R; ++r) {
      STPN_UNROLL
      for (int n = 0; n < N; ++n) {
        const T* HWY_RESTRICT from =
            to + r * to_r + layout.presynaptic(0, j + n * Layout::kColumns);
        sums[r][n] = scale == T(0) ? hn::Zero(d) : hn::Mul(hn::Set(d, scale), hn::Load(d, from));
      }
    }
    add_products<kRows, R, N>(layout, j, count, factors, rows, sums);
    STPN_UNROLL
    for (int r = 0; r < R; ++r) {
      STPN_UNROLL
      for (int n = 0; n < N; ++n) {
        hn::Store(sums[r][n], d, to + r * to_r + layout.presynaptic(0, j + n * Layout::kColumns));
      }
    }
  });
}

// to[i] = sum over j of row_i[j] * x[j] for i < count; with kMagnitudes, of |row_i[j]| * x[j]^2.
template <bool kMagnitudes = false, class Layout, typename T = typename Layout::Value>
HWY_INLINE void dot_rows(const Layout layout, int64_t count, const T* HWY_RESTRICT rows,
                         int64_t stride, const T* HWY_RESTRICT x, T* HWY_RESTRICT to) {
  using V = typename Layout::V;
  const typename Layout::D d;
  for_tiles<kTileRows>(count, 1, [&](auto tile, int64_t i) HWY_ATTR {
    constexpr int R = decltype(tile)::value;
    V sums[R];
    STPN_UNROLL
    for (int r = 0; r < R; ++r) sums[r] = hn::Zero(d);
    for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
      const V factor = hn::Load(d, x + layout.presynaptic(0, j));
      STPN_UNROLL
      for (int r = 0; r < R; ++r) {
        const V row = hn::LoadU(d, rows + (i + r) * stride + layout.presynaptic(0, j));
        if constexpr (kMagnitudes) {
          sums[r] = hn::MulAdd(hn::Abs(row), hn::Mul(factor, factor), sums[r]);
        } else {
          sums[r] = hn::MulAdd(row, factor, sums[r]);
        }
      }
    }
    store_row_sums<Layout>(sums, to + layout.presynaptic(0, i));
  });
}

// matrix = scale * matrix + sum over k < count of a_k outer b_k, where `a` holds values (neuron, k)
// and `b` vectors (0, k).
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE void add_outer_products(const Layout layout, T scale, int64_t hidden, int64_t count,
                                   const StridedArray<const T> a, const StridedArray<const T> b,
                                   T* matrix, int64_t row_stride) {
  for_tiles<kTileRows>(hidden, 1, [&](auto tile, int64_t i) HWY_ATTR {
    constexpr int R = decltype(tile)::value;
    sum_rows<RowsOf::shared, R>(layout, scale, count, a.from(i), b, matrix + i * row_stride,
                                row_stride);
  });
}

// The same for the gradient of a parameter matrix, (hidden, row), summed over samples too.
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE void add_outer_products_of_all(const Layout layout, int64_t hidden, int64_t count,
                                          const StridedArray<const T> a,
                                          const StridedArray<const T> b, T* HWY_RESTRICT matrix,
                                          int64_t row) {
  using D = typename Layout::D;
  if constexpr (Layout::kSamples != kInterleavedSamples<T>) {
    add_outer_products(layout, T(1), hidden, count, a, b, matrix, row);
    return;
  }
  for_tiles<kTileRows>(hidden, 1, [&](auto tile, int64_t i) HWY_ATTR {
    constexpr int R = decltype(tile)::value;
    for_tiles<kTileColumns<D>>(layout.width, 1, [&](auto columns, int64_t j) HWY_ATTR {
      constexpr int N = decltype(columns)::value;
      const D d;
      typename Layout::V sums[R][N];
      STPN_UNROLL
      for (int r = 0; r < R; ++r) {
        STPN_UNROLL
        for (int n = 0; n < N; ++n) sums[r][n] = hn::Zero(d);
      }
      add_products<RowsOf::shared, R, N>(layout, j, count, a.from(i), b, sums);
      alignas(64) T total[N + hn::MaxLanes(D())];
      for (int r = 0; r < R; ++r) {
        sums_of_lanes<N>(d, sums[r], total);
        for (int n = 0; n < N; ++n) matrix[(i + r) * row + j + n] += total[n];
      }
    });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
