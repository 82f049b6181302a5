// How much the CPU kernel of a unit may save for backward in a call whose T and B are not known
// yet, for graphs that are traced once for all lengths and batches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "stpn/kernels/sequence_params.h"

namespace stpn::kernels {

// At most B (per_step T + per_checkpoint (T / interval + 1)) values, with T / interval rounded
// down.
struct SavedBound {
  int64_t per_step = 0, per_checkpoint = 0;  // of a sample
  int64_t interval = std::numeric_limits<int64_t>::max();

  // What a unit on a GPU saves: these checkpoints and no other.
  int64_t size(int64_t steps, int64_t batch) const {
    return batch * (steps * per_step + steps / interval * per_checkpoint);
  }
  void widen(const SavedBound& other) {
    per_step = std::max(per_step, other.per_step);
    per_checkpoint = std::max(per_checkpoint, other.per_checkpoint);
    interval = std::min(interval, other.interval);
  }
};

// Among batches of these sizes every kind of group occurs as the first one, which determines the
// distance between checkpoints.
inline constexpr int64_t kBatchesToBound[] = {1, 2, 4, 64};
// No plan has checkpoints further apart.
inline constexpr int64_t kStepsToBound = 64;

// Of the groups of a plan of kStepsToBound steps.
template <typename T>
SavedBound saved_bound(const PlasticPlan<T>& plan);

}  // namespace stpn::kernels
