#include "stpn/nn/library/gru.h"

namespace stpn::nn {

std::vector<base::Field> GruOptions::fields() {
  return {base::field("hidden_size", hidden_size,
                      "units; more hold more, cost grows with the square",
                      {.least = 1, .most = kMostNeurons})};
}

std::shared_ptr<Unit> GruOptions::make(int64_t input_size) const {
  return make_unit<Gru>(input_size, *this);
}

Gru::Gru(int64_t input_size, const GruOptions& options)
    : LibraryRecurrence(input_size, options.hidden_size,
                        {.gates = 3, .biases = {"bias_ih", "bias_hh"}, .state = {"h"}}) {}

Gru::Tensors Gru::run(const torch::Tensor& x, const Tensors& states,
                      const Tensors& parameters) const {
  auto [y, h] =
      at::gru(x, states[0], parameters, /*has_biases=*/true, /*num_layers=*/1, /*dropout=*/0,
              is_training(), /*bidirectional=*/false, /*batch_first=*/false);
  return {y, h};
}

}  // namespace stpn::nn
