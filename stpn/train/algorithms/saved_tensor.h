// Tensors that a trainer saves in a checkpoint beside the model and the optimiser.
#pragma once

#include <torch/torch.h>

#include <string>

#include "stpn/base/safetensors.h"

namespace stpn::train {

// As float64 whatever its type, and back into `to`. `read_saved` throws base::UserError for a
// tensor that is missing or of another shape.
base::NamedTensor saved_tensor(const std::string& name, const torch::Tensor& tensor);
void read_saved(const base::Safetensors& content, const std::string& name, torch::Tensor to);

}  // namespace stpn::train
