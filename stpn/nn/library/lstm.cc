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
    : Recurrence(input_size, options.hidden_size,
                 {.cell = kernels::Cell::lstm,
                  .biases = {"bias_ih", "bias_hh"},
                  .state = {"h", "c"},
                  .normalised = options.normalised}) {}

}  // namespace stpn::nn
