// How the CPU kernel of the gated delta rule lays out what it saves. Arithmetic only.
//
// The lanes of a SIMD vector are memories, a vector for each synapse: nothing has to be summed over
// lanes. Forward saves S every few steps, and backward computes the steps in between again: their
// S stay in the cache, where those of a whole sequence would go through memory.
#pragma once

#include <algorithm>
#include <cstdint>

#include "stpn/kernels/gated_delta/equations.h"

namespace stpn::kernels {

template <typename T>
struct GatedDeltaLayout {
  // `vector_lanes`: of a SIMD vector.
  GatedDeltaLayout(const GatedDeltaExtent& extent, int64_t vector_lanes)
      : lanes(vector_lanes),
        blocks((extent.memories() + lanes - 1) / lanes),
        state(extent.synapses() * lanes),
        segment(segment_of(state)),
        segments((extent.steps + segment - 1) / segment) {}

  // Where the S at the beginning of a segment is among what is saved.
  int64_t saved_offset(int64_t block, int64_t s) const { return (block * segments + s) * state; }
  int64_t saved_size() const { return blocks * segments * state; }

  int64_t lanes;
  int64_t blocks;    // of memories, a vector of them each
  int64_t state;     // values of T in the S of a block
  int64_t segment;   // steps between two S that are saved
  int64_t segments;  // of a sequence; the last may be shorter

 private:
  // As many steps as fit the second-level cache, within limits: fewer steps save more, and what
  // many steps save is little already.
  static int64_t segment_of(int64_t state) {
    constexpr int64_t kCache = 1 << 20, kLeast = 4, kMost = 32;
    return std::clamp<int64_t>(kCache / (state * static_cast<int64_t>(sizeof(T))), kLeast, kMost);
  }
};

}  // namespace stpn::kernels
