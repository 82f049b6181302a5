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
    : Recurrence(input_size, options.hidden_size,
                 {.cell = kernels::Cell::rnn,
                  .biases = {"bias"},
                  .state = {"h"},
                  .normalised = options.normalised}) {}

}  // namespace stpn::nn
