// How trainers divide a batch: into shards of a fixed size, each of which a thread of one of the
// run's processes runs from beginning to end. The size must not depend on the number of threads or
// processes: it decides the order in which gradients are summed, and so the last bits of a run.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "stpn/tasks/environment.h"

namespace stpn::train {

// Enough to fill the vector units, few enough for what is saved for backward to stay near the
// cache. A unit without environments has little to do at each step, so that smaller shards would
// cost more than they gain.
inline constexpr int64_t kEnvironmentsInShard = 64;
inline constexpr int64_t kSequencesInShard = 128;
// With images a step takes so long that a few environments or sequences are worth a thread, and
// units whose kernels cannot act in a closed loop act on one thread a shard.
inline constexpr int64_t kImageEnvironmentsInShard = 4;
inline constexpr int64_t kImageSequencesInShard = 8;

inline int64_t environments_in_shard(const tasks::EnvironmentTask& task) {
  return task.image() == nullptr ? kEnvironmentsInShard : kImageEnvironmentsInShard;
}
inline int64_t sequences_in_shard(const tasks::EnvironmentTask& task) {
  return task.image() == nullptr ? kSequencesInShard : kImageSequencesInShard;
}

// How many shards of this size that is.
inline int64_t shards_of(int64_t items, int64_t in_shard) {
  return (items + in_shard - 1) / in_shard;
}

// Adds a shard's gradients to the sum of those before it; a shard without any has none. The sum is
// contiguous, which not every gradient is that libtorch returns: Adam relies on it.
inline void add_gradients(std::vector<torch::Tensor>& sum, const std::vector<torch::Tensor>& part) {
  if (sum.empty()) {
    for (const torch::Tensor& gradient : part) sum.push_back(gradient.contiguous());
    return;
  }
  for (size_t i = 0; i < part.size(); ++i) sum[i].add_(part[i]);
}

// Hands the sum to the optimiser (Adam::step).
inline void set_gradients(const std::vector<torch::Tensor>& parameters,
                          const std::vector<torch::Tensor>& sum) {
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].mutable_grad() = sum[i];
}

}  // namespace stpn::train
