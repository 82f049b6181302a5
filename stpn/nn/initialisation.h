// Parameters drawn from the counter-based generator (base/random.h): same seed, same bits, on every
// machine.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace stpn::nn {

// Fills the float or double `tensor` in place, row-major, with U(low, high). `index` is a number
// for each parameter tensor of a model. It decides, with the seed, which values are drawn: never
// change it. Units use 0, 1, ...; heads 1000, 1001, ...
void uniform_(torch::Tensor tensor, double low, double high, uint64_t seed, uint64_t index);

// Weight (outputs, inputs) and bias of a model's head, which are `index` and `index` + 1, with
// U(+-1/sqrt(inputs)).
void reset_head(const torch::Tensor& weight, const torch::Tensor& bias, uint64_t seed,
                uint64_t index);

}  // namespace stpn::nn
