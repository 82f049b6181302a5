// Parameters as the CPU kernels of units with plastic synapses read them, and the sums of their
// gradients. The same on every SIMD target.
#pragma once

#include <hwy/base.h>

#include <algorithm>
#include <cstdint>

#include "stpn/base/parallel.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/shards.h"
#include "stpn/kernels/extent.h"
#include "stpn/kernels/input_projection.h"

namespace stpn::kernels {

// Parameter matrices, one after the other, each (rows, row) with zeros in the padding.
template <typename T>
class PaddedMatrices {
 public:
  PaddedMatrices(const PlasticPlan<T>& plan, int64_t count)
      : row_(plan.row), matrix_(plan.parameter_matrix()), memory_(count * matrix_) {
    std::fill_n(memory_.get(), count * matrix_, T(0));
  }
  T* row(int64_t which, int64_t i) const { return memory_.get() + which * matrix_ + i * row_; }

 private:
  int64_t row_, matrix_;
  ScratchArray<T> memory_;
};

// The weights W (H, I) of an input projection, transposed to (I, H), followed by the bias; rows
// padded with zeros. The sums of their gradients have the same shape, one row in each vector of
// GradientSums.
template <typename T>
class PaddedInputWeights {
 public:
  PaddedInputWeights(const Extent& extent, const InputWeights<T>& weights)
      : inputs_(extent.inputs),
        width_(PlasticPlan<T>::padded(extent.hidden)),
        memory_((inputs_ + 1) * width_) {
    std::fill_n(memory_.get(), (inputs_ + 1) * width_, T(0));
    for (int64_t i = 0; i < extent.hidden; ++i) {
      for (int64_t j = 0; j < inputs_; ++j) {
        memory_.get()[j * width_ + i] = weights.weight[i * weights.columns + j];
      }
    }
    if (weights.bias == nullptr) return;
    std::copy_n(weights.bias, extent.hidden, memory_.get() + inputs_ * width_);
  }
  int64_t inputs() const { return inputs_; }
  const T* row(int64_t input) const { return memory_.get() + input * width_; }

 private:
  int64_t inputs_, width_;
  ScratchArray<T> memory_;
};

// The parameters of a unit that has an input projection.
template <typename T>
struct ProjectedParameters {
  PaddedMatrices<T> matrices;
  PaddedInputWeights<T> inputs;
};

// The sums of gradients over the samples of one shard: matrices as above, and vectors of H values.
template <typename T>
struct GradientSums {
  T* matrix(int64_t which) const { return base + which * matrix_size; }
  T* vector(int64_t which) const { return base + matrices * matrix_size + which * vector_size; }

  T* base;
  int64_t matrices, matrix_size, vector_size;
};

// The sums of gradients of all shards and, after add_up(), their total.
template <typename T>
class ShardSums {
 public:
  ShardSums(const PlasticPlan<T>& plan, int64_t matrices, int64_t vectors)
      : shards_(plan.shards),
        row_(plan.row),
        shape_{nullptr, matrices, plan.parameter_matrix(), plan.padded(plan.hidden)},
        size_(matrices * shape_.matrix_size + vectors * shape_.vector_size),
        memory_(shards_ * size_) {}

  // Sets the sums of a shard to zero and returns them.
  GradientSums<T> start(int64_t shard) const {
    std::fill_n(at(shard).base, size_, T(0));
    return at(shard);
  }
  // The same, but the matrices keep what they have: the pass sets each neuron's row when it first
  // adds to it and has it in the cache. Rows after those only pad: nobody reads their total.
  GradientSums<T> start_vectors(int64_t shard) const {
    const GradientSums<T> sums = at(shard);
    std::fill(sums.vector(0), sums.base + size_, T(0));
    return sums;
  }
  // Adds up the shards in order, whichever thread made them: the result does not depend on threads.
  void add_up(const base::ParallelFor* parallel) const {
    constexpr int64_t kPiece = 4096;
    T* HWY_RESTRICT total = memory_.get();
    for_each_shard(parallel, (size_ + kPiece - 1) / kPiece, [&](int64_t piece) {
      const int64_t end = std::min(size_, (piece + 1) * kPiece);
      for (int64_t shard = 1; shard < shards_; ++shard) {
        const T* HWY_RESTRICT sums = at(shard).base;
        for (int64_t k = piece * kPiece; k < end; ++k) total[k] += sums[k];
      }
    });
  }
  // The total.
  const T* row(int64_t which, int64_t i) const { return at(0).matrix(which) + i * row_; }
  const T* vector(int64_t which) const { return at(0).vector(which); }

 private:
  GradientSums<T> at(int64_t shard) const {
    GradientSums<T> sums = shape_;
    sums.base = memory_.get() + shard * size_;
    return sums;
  }

  int64_t shards_, row_;
  GradientSums<T> shape_;
  int64_t size_;
  ScratchArray<T> memory_;
};

// Writes the gradients of an input projection, whose sums begin with vector `first`.
template <typename T>
void store_input_weights(const ShardSums<T>& sums, int64_t first, const Extent& extent,
                         const InputWeights<T, T>& to) {
  for (int64_t j = 0; j < extent.inputs && to.weight != nullptr; ++j) {
    const T* row = sums.vector(first + j);
    for (int64_t i = 0; i < extent.hidden; ++i) to.weight[i * to.columns + j] = row[i];
  }
  if (to.bias != nullptr) std::copy_n(sums.vector(first + extent.inputs), extent.hidden, to.bias);
}

}  // namespace stpn::kernels
