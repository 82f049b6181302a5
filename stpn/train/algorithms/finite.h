// Finds NaN and infinities in parameters and gradients, which would spread to every later value.
#pragma once

#include <torch/torch.h>

#include <string>
#include <vector>

#include "stpn/train/algorithms/adam.h"

namespace stpn::train {

// The name of the first parameter with a value that is not finite, or of the first for which a
// moment of Adam has one ("adam.square.head.bias"); empty if there is none. `adam` may be null.
std::string find_not_finite(const torch::nn::Module& model, const Adam* adam);
// The same for the gradients of model.parameters(), in their order.
std::string find_not_finite(const torch::nn::Module& model,
                            const std::vector<torch::Tensor>& gradients);

}  // namespace stpn::train
