// How the CPU kernels of units with plastic synapses cut a call into pieces and lay out what they
// keep: arithmetic only, the same on every SIMD target.
//
// Such a unit has one or more matrices a sample, (H, sources), that change at every step. Samples
// run in groups, in one of two layouts.
//
// RowVectorised: vectors run along the rows. kTileRows rows go side by side: their sums are independent of
// each other, which hides latencies, and end in one reduction. They are of that many samples, so
// that parameters are loaded once for all of such a group; of two samples where four would leave
// the cache; and of one for the samples that are left over. Rows are padded with zeros to 64 bytes.
//
// BatchInterleaved: vectors run across 64 bytes of samples. Nothing is padded or reduced, but each gradient
// of a parameter is a vector, of a sum a lane: for small units with few parameters a synapse, and
// for units that do not hear each other. Those go in neuron_blocks of a few units, each through many steps
// before the next, so that all that a neuron_block writes at a step stays in the first-level cache.
//
// RowVectorised, there are rows of zeros up to a multiple of those that go side by side, so that no loop
// has a tail. Within a group of S:
//                 along                   across
//   matrices      [matrices][rows][S][row]   [matrices][rows][sources][S]
//   presynaptic   [S][row]                   [sources][S]
//   unit values   [rows][S], padded to 64 bytes
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace stpn::kernels {

// Added to every norm that divides.
inline constexpr double kNormEpsilon = 1e-16;

inline constexpr int kTileRows = 4;

// Samples of a group across, and of one in neuron_blocks.
template <typename T>
inline constexpr int kInterleavedSamples = 64 / sizeof(T);
template <typename T>
inline constexpr int kNeuronBlockSamples = 2 * kInterleavedSamples<T>;

// Parameter gradients are summed a shard of groups at a time and then over shards, in order: the
// cut depends on the batch alone, so the bits do not depend on the threads. More shards than this
// would cost more memory and time to add up than they share out.
inline constexpr int64_t kMaxShards = 16;

// Rows of units: [begin, end).
struct Rows {
  int64_t begin, end;
};

// What a unit asks for.
struct PlasticShape {
  int64_t steps, batch, hidden;
  int64_t fan_in;   // columns of a matrix
  int64_t matrices;  // plastic matrices of a sample
  // Values kept at each step for backward: of a unit, of a source, of a sample.
  int64_t saved_per_neuron = 0;
  int64_t saved_per_presynaptic = 0;
  int64_t saved_per_sample = 0;
  int64_t interval = 0;  // steps between checkpoints; 0: as many as scratch memory holds
  bool interleaved = false;   // whether its kernel has this layout too
  bool neuron_blocks = false;   // and in neuron_blocks: units of one matrix, independent of each other
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
        saved_per_neuron(shape.saved_per_neuron),
        saved_per_presynaptic(shape.saved_per_presynaptic),
        saved_per_sample(shape.saved_per_sample),
        neuron_blocks(shape.neuron_blocks && shape.interleaved),
        shift(fits_in_neuron_blocks()
                  ? std::bit_width(static_cast<uint64_t>(kMaxBatchInterleavedBytes / bytes_in_neuron_block())) - 1
                  : 0),
        interleaved(shape.neuron_blocks ? kNeuronBlockSamples<T> : kInterleavedSamples<T>),
        interleaved_groups(shape.interleaved && (neuron_blocks ? fits_in_neuron_blocks() : fits_batch_interleaved()) ? batch / interleaved
                                                                                  : 0),
        row_vectorised(bytes(kTileRows) <= kMaxRowVectorisedBytes ? kTileRows : 2),
        row_vectorised_groups((batch - interleaved_groups * interleaved) / row_vectorised),
        groups(interleaved_groups + row_vectorised_groups + (batch - interleaved_groups * interleaved) % row_vectorised),
        shards(std::min(groups, kMaxShards)) {
    // Backward replays this many steps of the matrices from one checkpoint, in scratch memory that
    // should stay in the cache.
    constexpr int64_t kScratchBytes = 1024 * 1024;
    interval = std::clamp(kScratchBytes / bytes_in_scratch(), int64_t{4}, int64_t{64});
    interval = std::min(shape.interval > 0 ? shape.interval : interval, steps);
    checkpoints = (steps + interval - 1) / interval;
    saved_fits_cache = saved_size() * kBytes <= kMaxSavedBytes;
  }

  static int64_t padded(int64_t count) {
    constexpr int64_t kLanes = 64 / sizeof(T);
    return (count + kLanes - 1) / kLanes * kLanes;
  }

  // A group's samples: [first_sample, first_sample + size).
  int64_t size(int64_t group) const {
    if (group < interleaved_groups) return interleaved;
    return group < interleaved_groups + row_vectorised_groups ? row_vectorised : 1;
  }
  int64_t first_sample(int64_t group) const {
    return up_to(group, [](int64_t size) { return size; });
  }
  // A shard's groups: [first_group(c), first_group(c + 1)).
  int64_t first_group(int64_t shard) const { return shard * groups / shards; }

  // Of a group's row: in samples along padded, across not.
  int64_t width(int64_t size) const { return size >= kInterleavedSamples<T> ? fan_in : row; }
  int64_t rows(int64_t size) const {
    if (size >= kInterleavedSamples<T>) return hidden;
    const int64_t side_by_side = kTileRows / size;
    return (hidden + side_by_side - 1) / side_by_side * side_by_side;
  }
  // Rows of a neuron_block; the last one may have fewer. Unit i is of neuron_block i >> neuron_block_shift.
  int64_t neuron_block(int64_t size) const {
    return neuron_blocks && size >= kInterleavedSamples<T> ? int64_t{1} << shift : rows(size);
  }
  int neuron_block_shift(int64_t size) const { return neuron_blocks && size >= kInterleavedSamples<T> ? shift : kOneNeuronBlock; }
  int64_t neurons(int64_t size) const { return padded(rows(size) * size); }
  int64_t presynaptic(int64_t size) const { return size * width(size); }
  int64_t matrix(int64_t size) const { return rows(size) * presynaptic(size); }
  int64_t all_matrices(int64_t size) const { return matrices * matrix(size); }

  // Rows of a parameter matrix: enough for a sample alone, and across.
  int64_t parameter_matrix() const { return rows(1) * row; }

  // SavedActivations for backward, a group after the other: neuron_block by neuron_block, for each step `saved_per_neuron` times
  // its unit values; then for each step values of sources and of samples; then the matrices as the
  // steps 0, interval, 2 interval ... see them. Those of step 0 Fast Weights alone writes: the
  // others read the initial state again.
  int64_t saved_neurons(int64_t size) const {
    const int64_t count = (rows(size) + neuron_block(size) - 1) / neuron_block(size);
    return count * steps * saved_per_neuron * padded(neuron_block(size) * size);
  }
  int64_t saved_besides(int64_t size) const {
    return saved_per_presynaptic * presynaptic(size) + padded(saved_per_sample * size);
  }
  int64_t before_checkpoints(int64_t size) const {
    return saved_neurons(size) + steps * saved_besides(size);
  }
  int64_t saved(int64_t size) const {
    return before_checkpoints(size) + checkpoints * all_matrices(size);
  }
  int64_t saved_offset(int64_t group) const {
    return up_to(group, [this](int64_t size) { return saved(size); });
  }
  int64_t saved_size() const { return saved_offset(groups); }

  int64_t steps, batch, hidden, fan_in, row;
  int64_t matrices, saved_per_neuron, saved_per_presynaptic, saved_per_sample;
  bool neuron_blocks;
  int shift;
  int64_t interleaved, interleaved_groups, row_vectorised, row_vectorised_groups, groups, shards;
  int64_t interval, checkpoints;
  bool saved_fits_cache;  // the second level: forward should leave there what it keeps

 private:
  static constexpr int64_t kBytes = sizeof(T);
  static constexpr int kOneNeuronBlock = 62;
  // A group's matrices may take this much of the cache: of its first level, of its second.
  static constexpr int64_t kMaxBatchInterleavedBytes = 32 * 1024;
  static constexpr int64_t kMaxRowVectorisedBytes = 512 * 1024;
  // And what all groups keep, of the second.
  static constexpr int64_t kMaxSavedBytes = 2 * 1024 * 1024;
  int64_t bytes(int64_t size) const { return hidden * presynaptic(size) * matrices * kBytes; }
  // What a step back reads and writes of a row: a matrix and its gradient; three sums of gradients
  // of parameters, of a vector a synapse.
  int64_t bytes_in_neuron_block() const {
    return 2 * presynaptic(kNeuronBlockSamples<T>) * kBytes + 3 * fan_in * 64;
  }
  bool fits_in_neuron_blocks() const { return bytes_in_neuron_block() <= kMaxBatchInterleavedBytes; }
  bool fits_batch_interleaved() const { return bytes(kInterleavedSamples<T>) <= kMaxBatchInterleavedBytes; }
  // What backward holds of a replayed step: matrices of one neuron_block; the activity of all, and its
  // gradients, where a neuron_block goes through all steps before the next.
  int64_t bytes_in_scratch() const {
    const int64_t first = size(0);
    const int64_t recomputed = neuron_block(first) * presynaptic(first) * matrices;
    return (recomputed +
            (interleaved_groups > 0 && neuron_blocks ? 2 * (presynaptic(first) + neurons(first)) : 0)) *
           kBytes;
  }

  // The sum of what each of the groups before this one has.
  template <typename Has>
  int64_t up_to(int64_t group, const Has& has) const {
    const int64_t of_batch_interleaved = std::min(group, interleaved_groups);
    const int64_t of_row_vectorised = std::clamp(group - interleaved_groups, int64_t{0}, row_vectorised_groups);
    return of_batch_interleaved * has(interleaved) + of_row_vectorised * has(row_vectorised) +
           (group - of_batch_interleaved - of_row_vectorised) * has(1);
  }
};

// Where a group of S keeps what.
template <typename T, int S>
class SavedActivations {
 public:
  SavedActivations(T* base, const PlasticPlan<T>& plan)
      : base_(base),
        plan_(&plan),
        shift_(plan.neuron_block_shift(S)),
        neurons_(plan.padded(plan.neuron_block(S) * S)),
        besides_(plan.saved_besides(S)) {}

  explicit operator bool() const { return base_ != nullptr; }
  // Of those of its neuron_block, from row i on.
  T* neurons(int64_t t, int64_t which, int64_t i = 0) const {
    const int64_t neuron_block = i >> shift_;
    return base_ + ((neuron_block * plan_->steps + t) * plan_->saved_per_neuron + which) * neurons_ +
           (i - (neuron_block << shift_)) * S;
  }
  // From the units of a step to those of the next, in one neuron_block.
  int64_t step() const { return plan_->saved_per_neuron * neurons_; }
  T* presynaptic(int64_t t, int64_t which) const {
    return base_ + plan_->saved_neurons(S) + t * besides_ + which * plan_->presynaptic(S);
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
  int64_t neurons_, besides_;
};

}  // namespace stpn::kernels
