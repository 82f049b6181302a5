// Weights that stay as they are within a sequence.
#pragma once

#include <torch/torch.h>

namespace stpn::nn {

// Each row of `weight` (R, N) divided by its 2-norm + 1e-16, as the efficacies of the STPN are.
// Differentiable.
torch::Tensor normalised_rows(const torch::Tensor& weight);

// (T, B, R): the sum over j of |W_ij| z_j^2, of `weight` (R, N) and its sources `z` (T, B, N).
// `measured` is Unit::measured(), of which the first N count. Not differentiable.
torch::Tensor energy_of_fixed_weights(const torch::Tensor& weight, const torch::Tensor& z,
                                      const torch::Tensor& measured);

}  // namespace stpn::nn
