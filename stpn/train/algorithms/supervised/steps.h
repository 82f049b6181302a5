// Which steps of the sequences of a batch count: for the loss those with a target, for the energy
// those before the ends of their sequences.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "stpn/tasks/sequence_task.h"

namespace stpn::train {

// The end of the piece of a sequence of T steps that begins at `begin`. `piece_length` 0: the
// whole.
int64_t end_of_piece(int64_t begin, int64_t piece_length, int64_t T);

struct Asked {
  int64_t targets = 0;
  int64_t first_step = 0;  // with a target, from `begin`
};

// In steps [begin, end) of B sequences; `target` has (T, B) values.
Asked asked_in(const torch::Tensor& target, int64_t B, int64_t begin, int64_t end);

// (T, count) bool: true after the end of each sequence from `first` on. Undefined if all have T
// steps.
torch::Tensor past_end_of(const tasks::SequenceTask& task, tasks::Split split, int64_t first,
                          int64_t count);

// How many of the steps [begin, end) of `count` sequences are before their ends.
int64_t steps_in(const torch::Tensor& past_end, int64_t count, int64_t begin, int64_t end);

// The energy of the steps [begin, end), zero after the ends.
torch::Tensor up_to_end(const torch::Tensor& energy, const torch::Tensor& past_end, int64_t begin,
                        int64_t end);

}  // namespace stpn::train
