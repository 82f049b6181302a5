// Computes the shards of a batch: those of this process on its threads, the others in the other
// processes of the run (processes/group.h). Every process learns the results of all.
//
// Gradients are added in the order of the shards: each process adds those of its shards to the sum
// that it gets from the process before it, and the last one passes the whole to all. So the sum has
// the bits of one process, however many there are; it takes at most two messages a process, each
// with one gradient.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "stpn/base/safetensors.h"

namespace stpn::train {

struct ShardResult {
  std::vector<double> numbers = {};
  std::vector<torch::Tensor> gradients = {};  // in the order of the parameters; or none
};

struct ShardResults {
  std::vector<std::vector<double>> numbers;  // of each shard
  std::vector<torch::Tensor> gradients;      // their sum; none if no shard has any

  double sum_of(size_t number) const;  // in the order of the shards
};

// `run(i)`, for shards i of [0, count), is called on several threads.
ShardResults run_shards(int64_t count, const std::function<ShardResult(int64_t)>& run);
// The same for results that this process has computed already, of its share of `count` shards.
ShardResults add_up(int64_t count, std::vector<ShardResult> of_share);

// The numbers of all processes, one process after the other.
std::vector<double> gather_numbers(const std::vector<double>& numbers);
// Adds to `content` the tensors of all processes.
void gather_tensors(const base::Safetensors& of_share, base::Safetensors& content);

}  // namespace stpn::train
