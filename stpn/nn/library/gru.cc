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
    : Recurrence(input_size, options.hidden_size,
                 {.cell = kernels::Cell::gru, .biases = {"bias_ih", "bias_hh"}, .state = {"h"}}) {}

}  // namespace stpn::nn
