// The parameters of the STPN's synapses and the sums of their gradients side by side, for backward.
// Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_CPU_SIDE_BY_SIDE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_SIDE_BY_SIDE_INL_H_
#undef STPN_KERNELS_STPN_CPU_SIDE_BY_SIDE_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_SIDE_BY_SIDE_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/pack-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector of W, then one of Lambda, Gamma and the sums of their gradients, then the next of W: a
// sweep of a row-vectorised group reaches all six from one address. With an address for each it
// needs more than an x86 processor has registers for.
template <typename T>
class StpnSideBySide {
  using D = hn::ScalableTag<T>;

 public:
  static constexpr int64_t kArrays = 2 * kStpnMatrices;

  // Copies the parameters; all sums are zero.
  StpnSideBySide(const PlasticPlan<T>& plan, const PaddedMatrices<T>& parameters)
      : row_(plan.row), memory_(kArrays * plan.parameter_matrix()) {
    const D d;
    for (int64_t i = 0; i < plan.rows(1); ++i) {
      for (int64_t j = 0; j < row_; j += hn::Lanes(d)) {
        for (int which = 0; which < kStpnMatrices; ++which) {
          hn::Store(hn::Load(d, parameters.row(which, i) + j), d, row(i) + offset(which, j));
          hn::Store(hn::Zero(d), d, row(i) + offset(kStpnMatrices + which, j));
        }
      }
    }
  }

  T* row(int64_t i) const { return memory_.get() + i * kArrays * row_; }
  static HWY_INLINE int64_t offset(int array, int64_t j) {
    return j * kArrays + array * hn::Lanes(D());
  }

  // Adds the sums of some rows to those of the shard.
  void add_sums_to(const Gradients<T>& gradients, const Rows& rows) const {
    const D d;
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      for (int which = 0; which < kStpnMatrices; ++which) {
        T* HWY_RESTRICT sums = gradients.row(which, i);
        for (int64_t j = 0; j < row_; j += hn::Lanes(d)) {
          add_to(d, hn::Load(d, row(i) + offset(kStpnMatrices + which, j)), sums + j);
        }
      }
    }
  }

 private:
  const int64_t row_;
  const ScratchArray<T> memory_;
};

// The parameters and gradient sums of the rows of a tile, from row i of a sweep on. A sweep has
//   side_by_side           the first row of a StpnSideBySide, with row-vectorised groups; with
//                          others, whose sums have another form:
//   parameters, gradients  the first row of each matrix
//   parameter_row, gradient_row  how far it is to the next
template <class Tile, class Layout>
class StpnTileParameters {
  using T = typename Tile::T;
  using D = typename Tile::D;
  using RowValues = typename Tile::RowValues;

 public:
  template <class Sweep>
  HWY_INLINE StpnTileParameters(const Sweep& sweep, const Tile& tile, int64_t i) : tile_(tile) {
    if constexpr (Layout::kBatchInterleaved) {
      for (int which = 0; which < kStpnMatrices; ++which) {
        parameters_[which] = sweep.parameters[which] + i * sweep.parameter_row;
        gradients_[which] = sweep.gradients[which] + i * sweep.gradient_row;
      }
    } else {
      rows_ = sweep.side_by_side + i * row_size();
    }
  }

  HWY_INLINE RowValues parameter(StpnMatrix which, int64_t j) const {
    if constexpr (Layout::kBatchInterleaved) return tile_.parameters(parameters_[which], j);
    return load(which, j);
  }
  HWY_INLINE RowValues gradient(StpnMatrix which, int64_t j) const {
    if constexpr (Layout::kBatchInterleaved) return tile_.gradients(gradients_[which], j);
    return load(kStpnMatrices + which, j);
  }
  HWY_INLINE void store_gradient(StpnMatrix which, const RowValues& values, int64_t j) const {
    if constexpr (Layout::kBatchInterleaved) {
      tile_.store_gradients(values, gradients_[which], j);
    } else {
      STPN_UNROLL
      for (int r = 0; r < Tile::kRows; ++r) {
        hn::Store(values.v[r], D(), address(kStpnMatrices + which, r, j));
      }
    }
  }

 private:
  HWY_INLINE int64_t row_size() const { return StpnSideBySide<T>::kArrays * tile_.layout().width; }
  HWY_INLINE T* address(int array, int r, int64_t j) const {
    return rows_ + tile_.row(r * Tile::kVectors) * row_size() + StpnSideBySide<T>::offset(array, j);
  }
  HWY_INLINE RowValues load(int array, int64_t j) const {
    RowValues result;
    STPN_UNROLL
    for (int r = 0; r < Tile::kRows; ++r) result.v[r] = hn::Load(D(), address(array, r, j));
    return result;
  }

  const Tile tile_;
  T* HWY_RESTRICT rows_ = nullptr;
  const T* HWY_RESTRICT parameters_[kStpnMatrices];
  T* HWY_RESTRICT gradients_[kStpnMatrices];
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
