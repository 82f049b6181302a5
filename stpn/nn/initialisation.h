// Parameters drawn from the counter-based generator (base/random.h): same seed, same bits, on every
// machine; of the normal distribution up to the last bits.
#pragma once

#include <torch/torch.h>

#include <cstdint>

namespace stpn::nn {

// What weights and biases start from: U(+-k) for all, with a `k` of the layer; or N(0, 1/inputs)
// for weights and N(0, 1) for biases, as in Tyulmankov, Yang, Abbott, Neuron 110 (2022).
enum class Initialisation { uniform, normal };

// Fills the float or double `tensor` in place, row-major, with U(low, high). `index` is a number
// for each parameter tensor of a model. It decides, with the seed, which values are drawn: never
// change it. Units use 0, 1, ...; heads 1000, 1001, ...
void uniform_(torch::Tensor tensor, double low, double high, uint64_t seed, uint64_t index);

// The same with N(0, standard_deviation^2). The last bits may depend on the machine.
void normal_(torch::Tensor tensor, double standard_deviation, uint64_t seed, uint64_t index);

// Weight (outputs, inputs) and bias (outputs) of a layer, which are `index` and `index` + 1, with
// `bound` as the k of the uniform initialisation. The bias may be undefined.
void reset_layer(const torch::Tensor& weight, const torch::Tensor& bias, Initialisation from,
                 double bound, uint64_t seed, uint64_t index);

// Those of a model's head, with k = 1/sqrt(inputs).
void reset_head(const torch::Tensor& weight, const torch::Tensor& bias, uint64_t seed,
                uint64_t index, Initialisation from = Initialisation::uniform);

}  // namespace stpn::nn
