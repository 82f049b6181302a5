// Products of matrices that all samples share, one register tile at a time. Compiled once for each
// SIMD target.

#if defined(STPN_KERNELS_CPU_MATRICES_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_MATRICES_PRODUCTS_INL_H_
#undef STPN_KERNELS_CPU_MATRICES_PRODUCTS_INL_H_
#else
#define STPN_KERNELS_CPU_MATRICES_PRODUCTS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows of a matrix that are `stride` values apart; 0: the same row again and again.
template <typename T>
struct StridedRows {
  T* first;
  int64_t stride;

  HWY_INLINE T* at(int64_t row) const { return first + row * stride; }
  HWY_INLINE StridedRows from(int64_t row) const { return {at(row), stride}; }
};

// out[r][c] = initial[r][c] + sum over k of factors[r][k] * matrix[k][c]
template <typename T>
struct Product {
  StridedRows<const T> factors;
  // Row k of the matrix belongs to the factor (k / block) * block_stride + k % block: between the
  // blocks, the factors are padded.
  int64_t blocks, block, block_stride;
  StridedRows<const T> matrix;  // columns are padded to 64 bytes
  StridedRows<const T> initial;
  StridedRows<T> out;  // may be `initial`
};

// Vectors of a register tile of R rows: as many sums as hide the latency of an addition and leave
// registers for a vector of the matrix and a factor of each row.
template <int R>
inline constexpr int kProductVectors = R == 1   ? 8
                                       : R == 4 ? 2
                                                : 4;

template <int R, int N, typename T>
HWY_INLINE void product_tile(const Product<T>& p, int64_t column) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = hn::Lanes(d);
  V sums[R][N];
  STPN_UNROLL
  for (int r = 0; r < R; ++r) {
    STPN_UNROLL
    for (int n = 0; n < N; ++n) sums[r][n] = hn::LoadU(d, p.initial.at(r) + column + n * lanes);
  }
  const T* HWY_RESTRICT matrix = p.matrix.first + column;
  for (int64_t b = 0; b < p.blocks; ++b) {
    const T* HWY_RESTRICT factors = p.factors.first + b * p.block_stride;
    for (int64_t k = 0; k < p.block; ++k, matrix += p.matrix.stride) {
      V row[N];
      STPN_UNROLL
      for (int n = 0; n < N; ++n) row[n] = hn::LoadU(d, matrix + n * lanes);
      STPN_UNROLL
      for (int r = 0; r < R; ++r) {
        const V factor = hn::Set(d, factors[r * p.factors.stride + k]);
        STPN_UNROLL
        for (int n = 0; n < N; ++n) sums[r][n] = hn::MulAdd(factor, row[n], sums[r][n]);
      }
    }
  }
  STPN_UNROLL
  for (int r = 0; r < R; ++r) {
    STPN_UNROLL
    for (int n = 0; n < N; ++n) hn::StoreU(sums[r][n], d, p.out.at(r) + column + n * lanes);
  }
}

// Columns [column, columns): as many tiles of N vectors as fit, then of half as many.
template <int R, int N, typename T>
HWY_INLINE void product_columns(const Product<T>& p, int64_t column, int64_t columns) {
  const int64_t width = N * static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  for (; column + width <= columns; column += width) product_tile<R, N>(p, column);
  if constexpr (N > 1) {
    if (column < columns) product_columns<R, N / 2>(p, column, columns);
  }
}

// REQUIRES: `columns` is a multiple of 64 bytes.
template <typename T>
void multiply(Product<T> p, int64_t rows, int64_t columns) {
  const auto next = [&p](int64_t count) HWY_ATTR {
    p.factors = p.factors.from(count);
    p.initial = p.initial.from(count);
    p.out = p.out.from(count);
  };
  for (; rows >= 4; rows -= 4) {
    product_columns<4, kProductVectors<4>>(p, 0, columns);
    next(4);
  }
  if (rows == 3) product_columns<3, kProductVectors<3>>(p, 0, columns);
  if (rows == 2) product_columns<2, kProductVectors<2>>(p, 0, columns);
  if (rows == 1) product_columns<1, kProductVectors<1>>(p, 0, columns);
}

// sums[j][c] += sum over the rows k of left[k][j] * right[k][c], for j in [0, J).
template <int J, int N, typename T>
HWY_INLINE void outer_tile(const T* const* left, int64_t j, StridedRows<const T> right,
                           int64_t rows, int64_t column, StridedRows<T> sums) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const int64_t lanes = hn::Lanes(d);
  V of_tile[J][N];
  STPN_UNROLL
  for (int i = 0; i < J; ++i) {
    STPN_UNROLL
    for (int n = 0; n < N; ++n) of_tile[i][n] = hn::LoadU(d, sums.at(j + i) + column + n * lanes);
  }
  const T* HWY_RESTRICT values = right.first + column;
  for (int64_t k = 0; k < rows; ++k, values += right.stride) {
    const T* HWY_RESTRICT factors = left[k] + j;
    V row[N];
    STPN_UNROLL
    for (int n = 0; n < N; ++n) row[n] = hn::LoadU(d, values + n * lanes);
    STPN_UNROLL
    for (int i = 0; i < J; ++i) {
      const V factor = hn::Set(d, factors[i]);
      STPN_UNROLL
      for (int n = 0; n < N; ++n) of_tile[i][n] = hn::MulAdd(factor, row[n], of_tile[i][n]);
    }
  }
  STPN_UNROLL
  for (int i = 0; i < J; ++i) {
    STPN_UNROLL
    for (int n = 0; n < N; ++n) hn::StoreU(of_tile[i][n], d, sums.at(j + i) + column + n * lanes);
  }
}

// All sums, (count, columns): vectors of `right` stay in the first-level cache while all j are
// summed. REQUIRES: `columns` is a multiple of 64 bytes.
template <int N, typename T>
void add_outer_products(const T* const* left, int64_t count, StridedRows<const T> right,
                        int64_t rows, int64_t column, int64_t columns, StridedRows<T> sums) {
  const int64_t width = N * static_cast<int64_t>(hn::Lanes(hn::ScalableTag<T>()));
  for (; column + width <= columns; column += width) {
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) outer_tile<4, N>(left, j, right, rows, column, sums);
    for (; j < count; ++j) outer_tile<1, N>(left, j, right, rows, column, sums);
  }
  if constexpr (N > 1) {
    if (column < columns) {
      add_outer_products<N / 2>(left, count, right, rows, column, columns, sums);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
