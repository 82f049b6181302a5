// How the CPU kernel cuts a call into pieces and lays out what it keeps: arithmetic only, the same
// on every SIMD target.
//
// Samples run in groups, side by side, so that W, Lambda and Gamma are loaded once for all of a
// group: groups of kTogether, then the rest one by one. A row of a sample's fast weights is padded
// with zeros to 64 bytes, so that no loop has a tail. Within a group:
//   F      [H][S][row]     row i of all S samples side by side
//   z      [S][row]        presynaptic activity
//   per unit values [H][S], padded to 64 bytes: `units` of them
#pragma once

#include <algorithm>
#include <cstdint>

#include "stpn/kernels/stpn_recurrent.h"

namespace stpn::kernels {

// Added to every norm that divides.
inline constexpr double kNormFloor = 1e-16;

inline constexpr int kTogether = 4;

// Parameter gradients are summed a chunk of groups at a time and then over chunks, in order: the
// cut depends on the batch alone, so the bits do not depend on the threads. More chunks than this
// would cost more memory and time to add up than they share out.
inline constexpr int64_t kMostChunks = 16;

template <typename T>
struct StpnRecurrentPlan {
  explicit StpnRecurrentPlan(const Extent& extent, const StpnRecurrentVariant& variant)
      : steps(extent.steps),
        inputs(extent.inputs),
        hidden(extent.hidden),
        sources(extent.inputs + extent.hidden),
        row(padded(sources)),
        full_groups(extent.batch / kTogether),
        groups(full_groups + extent.batch % kTogether),
        chunks(std::min(groups, kMostChunks)),
        kept_units((variant.norm == Norm::none ? 1 : 2) + (variant.norm == Norm::post ? 1 : 0)) {
    // Backward replays this many steps of F from one checkpoint, in scratch memory that should stay
    // in the cache.
    constexpr int64_t kScratchBytes = 192 * 1024;
    const int64_t step_bytes = hidden * kTogether * row * static_cast<int64_t>(sizeof(T));
    interval = std::clamp(kScratchBytes / step_bytes, int64_t{4}, int64_t{64});
    interval = std::min(interval, steps);
    checkpoints = (steps + interval - 1) / interval;
  }

  static int64_t padded(int64_t count) {
    constexpr int64_t kLanes = 64 / sizeof(T);
    return (count + kLanes - 1) / kLanes * kLanes;
  }

  // A group's samples: [first_sample, first_sample + size).
  int64_t size(int64_t group) const { return group < full_groups ? kTogether : 1; }
  int64_t first_sample(int64_t group) const {
    return group < full_groups ? group * kTogether
                               : full_groups * kTogether + (group - full_groups);
  }
  // A chunk's groups: [first_group(c), first_group(c + 1)).
  int64_t first_group(int64_t chunk) const { return chunk * groups / chunks; }

  int64_t units(int64_t size) const { return padded(hidden * size); }
  int64_t weights(int64_t size) const { return hidden * size * row; }

  // Kept for backward, a group after the other: for each step the drive G z / n, the inverse of n
  // (with a norm) and that of |W + F| after the update (norm post), `units` values each; then F as
  // the steps 0, interval, 2 interval ... see it.
  int64_t kept(int64_t size) const {
    return steps * kept_units * units(size) + checkpoints * weights(size);
  }
  int64_t kept_offset(int64_t group) const {
    return std::min(group, full_groups) * kept(kTogether) +
           std::max(group - full_groups, int64_t{0}) * kept(1);
  }

  int64_t steps, inputs, hidden, sources, row;
  int64_t full_groups, groups, chunks;
  int64_t kept_units;
  int64_t interval, checkpoints;
};

// Where a group keeps what.
template <typename T>
struct Kept {
  Kept(T* base, const StpnRecurrentPlan<T>& plan, int64_t size)
      : base_(base), plan_(plan), size_(size), units_(plan.units(size)) {}

  T* drive(int64_t t) const { return base_ + t * plan_.kept_units * units_; }
  T* inverse_norm(int64_t t) const { return drive(t) + units_; }
  T* inverse_post_norm(int64_t t) const { return drive(t) + 2 * units_; }
  T* checkpoint(int64_t k) const {
    return base_ + plan_.steps * plan_.kept_units * units_ + k * plan_.weights(size_);
  }

 private:
  T* base_;
  const StpnRecurrentPlan<T>& plan_;
  int64_t size_;
  int64_t units_;
};

// W, Lambda and Gamma, one value a synapse, (H, row).
template <typename T>
struct PaddedParameters {
  const T* weight;
  const T* lambda;
  const T* gamma;
};

// Sums of the gradients of a chunk: (H, row) each, and bias (H).
template <typename T>
struct ParameterGradients {
  T* weight;
  T* lambda;
  T* gamma;
  T* bias;
};

}  // namespace stpn::kernels
