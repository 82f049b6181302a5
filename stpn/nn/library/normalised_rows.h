// Weights whose rows are normalised, as the efficacies of the STPN are.
#pragma once

#include <torch/torch.h>

namespace stpn::nn {

// Each row of `weight` (R, N) divided by its 2-norm + 1e-16. Differentiable.
torch::Tensor normalised_rows(const torch::Tensor& weight);

}  // namespace stpn::nn
