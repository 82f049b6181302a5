// The plan of a call: how the CPU kernels of units with plastic synapses divide the batch into
// groups of samples, and where the values lie that they compute and save. Arithmetic only, the same
// on every SIMD target. docs/kernels.md explains the terms.
//
// Such a unit has one or more matrices per sample, (H, fan-in), that change at every time step. The
// samples are processed in groups, in one of two layouts.
//
// Row-vectorised: a SIMD vector holds neighbouring synapses of one row. kTileRows rows are one
// register tile: their sums are independent of each other, which hides latencies, and end in one
// reduction over SIMD lanes. As far as possible these are the same row of several samples, so that
// parameters are loaded once for all of them: a group has four samples, or two where four would not
// fit in the cache and a sweep takes one time step, or one for the samples left over. Rows are
// padded with zeros to 64 bytes, and rows of zeros fill the last tile, so that no loop has a tail.
//
// Batch-interleaved: a SIMD vector holds the same synapse of neighbouring samples, which together
// are at least 64 bytes. Nothing is padded or reduced, but the gradient of each parameter is a
// vector, with a sum for each SIMD lane. This is for small units with few parameters per synapse,
// and for neurons that are independent of each other. Such neurons are processed in neuron blocks:
// a block of a few neurons runs through many time steps before the next block starts, so that all
// it writes in a step stays in the first-level cache.
//
// Layout of the arrays of a group of S samples:
//                  row-vectorised              batch-interleaved
//   matrices       [matrices][rows][S][row]    [matrices][rows][fan-in][S]
//   presynaptic    [S][row]                    [fan-in][S]
//   neuron values  [rows][S], padded to 64 bytes
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "stpn/kernels/sequence_params.h"

namespace stpn::kernels {

// Added to every norm before something is divided by it.
inline constexpr double kNormEpsilon = 1e-16;

// Rows in a register tile of the row-vectorised layout, over all samples.
inline constexpr int kTileRows = 4;

// Samples of a batch-interleaved group, without and with neuron blocks.
template <typename T>
inline constexpr int kInterleavedSamples = 64 / sizeof(T);
template <typename T>
inline constexpr int kNeuronBlockSamples = 2 * kInterleavedSamples<T>;

// Gradients of parameters are summed within a shard, which is a range of groups, and then over the
// shards in order. The division into shards depends only on the shapes, so the bits of the result
// do not depend on the number of threads. With more shards than this, memory and the time to add
// them up would cost more than the parallelism gains.
inline constexpr int64_t kMaxShards = 16;

// With sweeps of two time steps: more neuron values saved at each step; steps between checkpoints.
inline constexpr int64_t kSavedForTwoSteps = 2;
inline constexpr int64_t kTwoStepInterval = 8;

// Rows, that is neurons: [begin, end).
struct Rows {
  int64_t begin, end;
};

// What the plan of a unit's call depends on.
struct PlasticShape {
  Grouping grouping;
  int64_t steps, batch, hidden;
  int64_t fan_in;    // columns of a matrix
  int64_t matrices;  // plastic matrices of a sample
  // Values saved for backward at each time step: per neuron, per presynaptic input, per sample.
  int64_t saved_per_neuron = 0;
  int64_t saved_per_presynaptic = 0;
  int64_t saved_per_sample = 0;
  int64_t interval = 0;      // steps between checkpoints; 0: as many as scratch memory holds
  bool interleaved = false;  // whether the unit's kernel has the batch-interleaved layout
  // Whether that runs in neuron blocks: one matrix, neurons independent of each other.
  bool neuron_blocks = false;
  bool two_steps = false;  // whether the kernel has sweeps of two time steps for the variant
};

template <typename T>
struct PlasticPlan {
  explicit PlasticPlan(const PlasticShape& shape)
      : steps(shape.steps),
        batch(shape.batch),
        hidden(shape.hidden),
        fan_in(shape.fan_in),
        row(padded(shape.fan_in)),
        matrices(shape.matrices),
        saved_per_neuron(shape.saved_per_neuron + (takes_two_steps(shape) ? kSavedForTwoSteps : 0)),
        saved_per_presynaptic(shape.saved_per_presynaptic),
        saved_per_sample(shape.saved_per_sample),
        neuron_blocks(shape.neuron_blocks && shape.interleaved),
        block_shift(fits_in_neuron_blocks()
                        ? std::bit_width(static_cast<uint64_t>(kMaxBatchInterleavedBytes /
                                                               bytes_in_neuron_block())) -
                              1
                        : 0),
        interleaved_samples(shape.neuron_blocks ? kNeuronBlockSamples<T> : kInterleavedSamples<T>),
        interleaved_groups(
            shape.grouping == Grouping::fastest && shape.interleaved &&
                    (neuron_blocks ? fits_in_neuron_blocks() : fits_batch_interleaved())
                ? batch / interleaved_samples
                : 0),
        row_vectorised_samples(
            shape.grouping == Grouping::single_samples                             ? 1
            : takes_two_steps(shape) || bytes(kTileRows) <= kMaxRowVectorisedBytes ? kTileRows
                                                                                   : 2),
        row_vectorised_groups((batch - interleaved_groups * interleaved_samples) /
                              row_vectorised_samples),
        groups(interleaved_groups + row_vectorised_groups +
               (batch - interleaved_groups * interleaved_samples) % row_vectorised_samples),
        shards(std::min(groups, kMaxShards)),
        two_steps(takes_two_steps(shape)) {
    // Backward recomputes the matrices of this many steps from one checkpoint, into scratch memory
    // that should stay in the cache.
    constexpr int64_t kScratchBytes = 1024 * 1024;
    interval = std::clamp(kScratchBytes / bytes_in_scratch(), int64_t{4}, int64_t{64});
    if (two_steps) interval = kTwoStepInterval;
    interval = std::min(shape.interval > 0 ? shape.interval : interval, steps);
    checkpoints = (steps + interval - 1) / interval;
    saved_fits_cache = saved_size() * kElementBytes <= kMaxSavedBytes;
  }

  static int64_t padded(int64_t count) {
    constexpr int64_t kLanes = 64 / sizeof(T);
    return (count + kLanes - 1) / kLanes * kLanes;
  }

  // The samples of a group: [first_sample(group), first_sample(group) + size(group)).
  int64_t size(int64_t group) const {
    if (group < interleaved_groups) return interleaved_samples;
    return group < interleaved_groups + row_vectorised_groups ? row_vectorised_samples : 1;
  }
  int64_t first_sample(int64_t group) const {
    return sum_before(group, [](int64_t size) { return size; });
  }
  // The groups of a shard: [first_group(shard), first_group(shard + 1)).
  int64_t first_group(int64_t shard) const { return shard * groups / shards; }

  // Below, `size` is the number of samples of a group. Columns and rows of its matrices, with
  // padding where it is row-vectorised:
  int64_t width(int64_t size) const { return size >= kInterleavedSamples<T> ? fan_in : row; }
  int64_t rows(int64_t size) const {
    if (size >= kInterleavedSamples<T>) return hidden;
    const int64_t rows_in_tile = kTileRows / size;
    return (hidden + rows_in_tile - 1) / rows_in_tile * rows_in_tile;
  }
  // Rows of a neuron block; the last block may have fewer. Neuron i is in block
  // i >> neuron_block_shift(size). Where there are no neuron blocks, all rows are one block.
  int64_t neuron_block(int64_t size) const {
    return has_neuron_blocks(size) ? int64_t{1} << block_shift : rows(size);
  }
  int neuron_block_shift(int64_t size) const {
    return has_neuron_blocks(size) ? block_shift : kShiftOfAllRows;
  }
  // Values of an array of neuron values, a presynaptic array, a matrix, all matrices of a group.
  int64_t neurons(int64_t size) const { return padded(rows(size) * size); }
  int64_t presynaptic(int64_t size) const { return size * width(size); }
  int64_t matrix(int64_t size) const { return rows(size) * presynaptic(size); }
  int64_t all_matrices(int64_t size) const { return matrices * matrix(size); }

  // Values of a parameter matrix, which groups of all sizes read.
  int64_t parameter_matrix() const { return rows(1) * row; }

  // What forward saves for backward, one group after the other. In a group: for each neuron block
  // and each time step, `saved_per_neuron` arrays of the block's neuron values; then for each time
  // step the values of presynaptic inputs and of samples; then checkpoints, the matrices at the
  // start of steps 0, interval, 2 interval ... Only Fast Weights writes those of step 0: the other
  // units read the initial state again.
  int64_t saved_neurons(int64_t size) const {
    const int64_t count = (rows(size) + neuron_block(size) - 1) / neuron_block(size);
    return count * steps * saved_per_neuron * padded(neuron_block(size) * size);
  }
  // At one time step, the values that belong to no neuron block.
  int64_t saved_unblocked(int64_t size) const {
    return saved_per_presynaptic * presynaptic(size) + padded(saved_per_sample * size);
  }
  int64_t before_checkpoints(int64_t size) const {
    return saved_neurons(size) + steps * saved_unblocked(size);
  }
  int64_t saved(int64_t size) const {
    return before_checkpoints(size) + checkpoints * all_matrices(size);
  }
  int64_t saved_offset(int64_t group) const {
    return sum_before(group, [this](int64_t size) { return saved(size); });
  }
  int64_t saved_size() const { return saved_offset(groups); }

  int64_t steps, batch, hidden, fan_in;
  int64_t row;  // fan_in padded to 64 bytes
  int64_t matrices, saved_per_neuron, saved_per_presynaptic, saved_per_sample;
  bool neuron_blocks;
  int block_shift;  // a neuron block has 2^block_shift rows
  // Groups in this order: batch-interleaved, row-vectorised, and those of one sample.
  int64_t interleaved_samples, interleaved_groups;
  int64_t row_vectorised_samples, row_vectorised_groups;
  int64_t groups, shards;
  int64_t interval, checkpoints;
  bool saved_fits_cache;  // the second-level one; otherwise forward streams checkpoints past it
  bool two_steps;         // whether a sweep takes two time steps

 private:
  static constexpr int64_t kElementBytes = sizeof(T);
  static constexpr int kShiftOfAllRows = 62;  // so that every row is in block 0
  // Most bytes of a group's matrices: batch-interleaved in the first-level cache, row-vectorised in
  // the second-level cache.
  static constexpr int64_t kMaxBatchInterleavedBytes = 32 * 1024;
  static constexpr int64_t kMaxRowVectorisedBytes = 512 * 1024;
  // Where the matrices of four samples are larger, a sweep takes two steps.
  static constexpr int64_t kMaxOneStepBytes = 512 * 1024;
  // Most bytes that all groups save, in the second-level cache.
  static constexpr int64_t kMaxSavedBytes = 2 * 1024 * 1024;
  int64_t bytes(int64_t size) const {
    return hidden * presynaptic(size) * matrices * kElementBytes;
  }
  bool takes_two_steps(const PlasticShape& shape) const {
    return shape.two_steps && steps > 1 && bytes(kTileRows) > kMaxOneStepBytes;
  }
  bool has_neuron_blocks(int64_t size) const {
    return neuron_blocks && size >= kInterleavedSamples<T>;
  }
  // Bytes of one row that a backward step reads and writes: of a matrix and its gradient, and of
  // the gradient sums of three parameters, each of which is a 64-byte vector per synapse.
  int64_t bytes_in_neuron_block() const {
    return 2 * presynaptic(kNeuronBlockSamples<T>) * kElementBytes + 3 * fan_in * 64;
  }
  bool fits_in_neuron_blocks() const {
    return bytes_in_neuron_block() <= kMaxBatchInterleavedBytes;
  }
  bool fits_batch_interleaved() const {
    return bytes(kInterleavedSamples<T>) <= kMaxBatchInterleavedBytes;
  }
  // Bytes of scratch memory that backward needs for each recomputed time step: the matrices of one
  // neuron block; and with neuron blocks also z and h of all neurons and their gradients, because a
  // block runs through all steps before the next one does.
  int64_t bytes_in_scratch() const {
    const int64_t first = size(0);
    const int64_t recomputed = neuron_block(first) * presynaptic(first) * matrices;
    return (recomputed + (interleaved_groups > 0 && neuron_blocks
                              ? 2 * (presynaptic(first) + neurons(first))
                              : 0)) *
           kElementBytes;
  }

  // The sum of has(size) over the groups before this one.
  template <typename Has>
  int64_t sum_before(int64_t group, const Has& has) const {
    const int64_t interleaved_before = std::min(group, interleaved_groups);
    const int64_t row_vectorised_before =
        std::clamp(group - interleaved_groups, int64_t{0}, row_vectorised_groups);
    return interleaved_before * has(interleaved_samples) +
           row_vectorised_before * has(row_vectorised_samples) +
           (group - interleaved_before - row_vectorised_before) * has(1);
  }
};

// Addresses in what a group of S samples saves for backward.
template <typename T, int S>
class SavedActivations {
 public:
  SavedActivations(T* base, const PlasticPlan<T>& plan)
      : base_(base),
        plan_(&plan),
        shift_(plan.neuron_block_shift(S)),
        neurons_(plan.padded(plan.neuron_block(S) * S)),
        unblocked_(plan.saved_unblocked(S)) {}

  explicit operator bool() const { return base_ != nullptr; }
  // Array `which` of the neuron values saved at step t, from neuron i to the end of its block.
  T* neurons(int64_t t, int64_t which, int64_t i = 0) const {
    const int64_t neuron_block = i >> shift_;
    return base_ +
           ((neuron_block * plan_->steps + t) * plan_->saved_per_neuron + which) * neurons_ +
           (i - (neuron_block << shift_)) * S;
  }
  // How far it is from the neuron values of a step to those of the next, in one block.
  int64_t step() const { return plan_->saved_per_neuron * neurons_; }
  T* presynaptic(int64_t t, int64_t which) const {
    return base_ + plan_->saved_neurons(S) + t * unblocked_ + which * plan_->presynaptic(S);
  }
  T* samples(int64_t t, int64_t which) const {
    return presynaptic(t, plan_->saved_per_presynaptic) + which * S;
  }
  T* checkpoint(int64_t k) const {
    return base_ + plan_->before_checkpoints(S) + k * plan_->all_matrices(S);
  }

 private:
  T* base_;
  const PlasticPlan<T>* plan_;
  int shift_;
  int64_t neurons_, unblocked_;
};

}  // namespace stpn::kernels
