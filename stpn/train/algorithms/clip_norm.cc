#include "stpn/train/algorithms/clip_norm.h"

#include <cmath>

namespace stpn::train {

double clip_norm(const std::vector<torch::Tensor>& gradients, double most) {
  double squares = 0;
  for (const torch::Tensor& gradient : gradients) {
    const torch::Tensor dense = gradient.contiguous();
    const auto add = [&](const auto* values) {
      for (int64_t k = 0; k < dense.numel(); ++k) {
        squares += static_cast<double>(values[k]) * static_cast<double>(values[k]);
      }
    };
    if (dense.scalar_type() == torch::kFloat) {
      add(dense.const_data_ptr<float>());
    } else {
      add(dense.const_data_ptr<double>());
    }
  }
  const double norm = std::sqrt(squares);
  if (norm > most) {
    for (const torch::Tensor& gradient : gradients) gradient.mul_(most / norm);
  }
  return norm;
}

}  // namespace stpn::train
