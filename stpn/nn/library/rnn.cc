#include "stpn/nn/library/rnn.h"

namespace stpn::nn {

std::vector<base::Field> RnnOptions::fields() {
  return {
      base::field("hidden_size", hidden_size, "units; more hold more, cost grows with the square",
                  {.least = 1, .most = kMostNeurons}),
      normalised_field(normalised)};
}

std::shared_ptr<Unit> RnnOptions::make(int64_t input_size) const {
  return make_unit<Rnn>(input_size, *this);
}

Rnn::Rnn(int64_t input_size, const RnnOptions& options)
    : LibraryRecurrence(
          input_size, options.hidden_size,
          {.gates = 1, .biases = {"bias"}, .state = {"h"}, .normalised = options.normalised}) {}

Rnn::Tensors Rnn::run(const torch::Tensor& x, const Tensors& states,
                      const Tensors& parameters) const {
  // The library wants a bias for each of its two sums; a second one would add nothing.
  const auto& bias = parameters[2];
  auto [y, h] =
      at::rnn_tanh(x, states[0], {parameters[0], parameters[1], bias, torch::zeros_like(bias)},
                   /*has_biases=*/true, /*num_layers=*/1, /*dropout=*/0, is_training(),
                   /*bidirectional=*/false, /*batch_first=*/false);
  return {y, h};
}

}  // namespace stpn::nn
