// Gradient clipping.
#pragma once

#include <torch/torch.h>

#include <vector>

namespace stpn::train {

// Scales the gradients, of float or double, down so that their joint norm is at most `most`.
// Returns their norm before.
double clip_norm(const std::vector<torch::Tensor>& gradients, double most);

}  // namespace stpn::train
