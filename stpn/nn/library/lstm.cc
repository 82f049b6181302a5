#include "stpn/nn/library/lstm.h"

namespace stpn::nn {

std::vector<base::Field> LstmOptions::fields() {
  return {
      base::field("hidden_size", hidden_size, "units; more hold more, cost grows with the square",
                  {.least = 1, .most = kMostNeurons}),
      normalised_field(normalised)};
}

std::shared_ptr<Unit> LstmOptions::make(int64_t input_size) const {
  return make_unit<Lstm>(input_size, *this);
}

Lstm::Lstm(int64_t input_size, const LstmOptions& options)
    : LibraryRecurrence(input_size, options.hidden_size,
                        {.gates = 4,
                         .biases = {"bias_ih", "bias_hh"},
                         .state = {"h", "c"},
                         .normalised = options.normalised}) {}

Lstm::Tensors Lstm::run(const torch::Tensor& x, const Tensors& states,
                        const Tensors& parameters) const {
  auto [y, h, c] = at::lstm(x, states, parameters, /*has_biases=*/true, /*num_layers=*/1,
                            /*dropout=*/0, is_training(), /*bidirectional=*/false,
                            /*batch_first=*/false);
  return {y, h, c};
}

}  // namespace stpn::nn
