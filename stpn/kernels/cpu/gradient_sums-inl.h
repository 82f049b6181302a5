// Sums of the gradients of parameters, for groups of either layout. Compiled once for each SIMD
// target.

#if defined(STPN_KERNELS_CPU_GRADIENT_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_GRADIENT_SUMS_INL_H_
#undef STPN_KERNELS_CPU_GRADIENT_SUMS_INL_H_
#else
#define STPN_KERNELS_CPU_GRADIENT_SUMS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Where backward passes add their gradients of parameters. In the batch-interleaved layout every
// SIMD lane has a sum of its own; lanes are added up at the end of the shard, or at that of a
// neuron block.
template <typename T>
class Gradients {
  using D = hn::ScalableTag<T>;

 public:
  // The first `lane_matrices` matrices have sums for each lane, of `lane_rows` rows at a time: of
  // all rows with batch-interleaved groups, of one block with neuron blocks, of none without
  // either.
  Gradients(const PlasticPlan<T>& plan, const GradientSums<T>& sums, int64_t lane_matrices,
            int64_t lane_rows)
      : plan_(plan),
        sums_(sums),
        lane_matrices_(lane_matrices),
        lane_rows_(lane_rows),
        lanes_(lanes_size()) {
    std::fill_n(lanes_.get(), lanes_size(), T(0));
  }

  T* vector(int64_t which) const { return sums_.vector(which); }
  // How far it is from a row to the next, in the same neuron block.
  template <class Layout>
  int64_t row_size() const {
    return Layout::kBatchInterleaved ? lanes_of_row() : plan_.row;
  }
  // Row i of the sums over all lanes.
  T* row(int64_t which, int64_t i) const { return sums_.matrix(which) + i * plan_.row; }
  // Where a pass adds the gradients of the rows [i, i + kRows).
  template <class Layout>
  T* rows(int64_t which, int64_t i) const {
    if constexpr (!Layout::kBatchInterleaved) return sums_.matrix(which) + i * plan_.row;
    if constexpr (Layout::kNeuronBlocks) i &= lane_rows_ - 1;
    return lanes(which, i);
  }
  void add_multiple(int64_t which, int64_t i, T coefficient, const T* HWY_RESTRICT of) const {
    T* HWY_RESTRICT sum = row(which, i);
    for (int64_t j = 0; j < plan_.fan_in; ++j) sum[j] += coefficient * of[j];
  }
  void add_up_lanes() const {
    if (lane_rows_ > 0) add_up_lanes({0, plan_.hidden});
  }
  // The rows of a neuron block.
  void add_up_lanes(Rows rows) const {
    const D d;
    const int64_t count = lanes_of_row();
    for (int64_t which = 0; which < lane_matrices_; ++which) {
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        T* HWY_RESTRICT from = lanes(which, i - rows.begin);
        T* HWY_RESTRICT to = sums_.matrix(which) + i * plan_.row;
        alignas(64) T sums[kTileRows];
        int64_t j = 0;
        for (; j + kTileRows <= plan_.fan_in; j += kTileRows) {
          hn::Vec<D> of[kTileRows];
          for (int k = 0; k < kTileRows; ++k) of[k] = hn::Load(d, from + (j + k) * hn::Lanes(d));
          sums_of_lanes<kTileRows>(d, of, sums);
          for (int k = 0; k < kTileRows; ++k) to[j + k] += sums[k];
        }
        for (; j < plan_.fan_in; ++j) {
          to[j] += hn::GetLane(hn::SumOfLanes(d, hn::Load(d, from + j * hn::Lanes(d))));
        }
        std::fill_n(from, count, T(0));
      }
    }
  }

 private:
  int64_t lanes_of_row() const { return plan_.fan_in * hn::Lanes(D()); }
  T* lanes(int64_t which, int64_t i) const {
    return lanes_.get() + (which * lane_rows_ + i) * lanes_of_row();
  }
  int64_t lanes_size() const { return lane_matrices_ * lane_rows_ * lanes_of_row(); }

  const PlasticPlan<T>& plan_;
  const GradientSums<T>& sums_;
  const int64_t lane_matrices_, lane_rows_;
  const ScratchArray<T> lanes_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
