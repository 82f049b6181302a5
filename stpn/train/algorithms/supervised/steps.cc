#include "stpn/train/algorithms/supervised/steps.h"

#include <algorithm>

namespace stpn::train {

int64_t end_of_piece(int64_t begin, int64_t piece_length, int64_t T) {
  return piece_length == 0 ? T : std::min(begin + piece_length, T);
}

Asked asked_in(const torch::Tensor& target, int64_t B, int64_t begin, int64_t end) {
  const auto* first = target.const_data_ptr<int64_t>() + begin * B;
  const auto* last = first + (end - begin) * B;
  const auto is_target = [](int64_t value) { return value != tasks::kNoTarget; };
  return {.targets = std::count_if(first, last, is_target),
          .first_step = (std::find_if(first, last, is_target) - first) / B};
}

torch::Tensor past_end_of(const tasks::SequenceTask& task, tasks::Split split, int64_t first,
                          int64_t count) {
  torch::Tensor past_end;
  for (int64_t b = 0; b < count; ++b) {
    const int64_t length = task.length(split, first + b);
    if (length == task.steps()) continue;
    if (!past_end.defined()) past_end = torch::zeros({task.steps(), count}, torch::kBool);
    past_end.slice(0, length).select(1, b).fill_(true);
  }
  return past_end;
}

int64_t steps_in(const torch::Tensor& past_end, int64_t count, int64_t begin, int64_t end) {
  const int64_t all = (end - begin) * count;
  return past_end.defined() ? all - past_end.slice(0, begin, end).sum().item<int64_t>() : all;
}

torch::Tensor up_to_end(const torch::Tensor& energy, const torch::Tensor& past_end, int64_t begin,
                        int64_t end) {
  if (!past_end.defined()) return energy;
  return energy.masked_fill(past_end.slice(0, begin, end).unsqueeze(-1), 0);
}

}  // namespace stpn::train
