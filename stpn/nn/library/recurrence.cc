#include "stpn/nn/library/recurrence.h"

#include <cmath>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/kernels/fixed_weights/equations.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/library/normalised_rows.h"
#include "stpn/ops/energy.h"
#include "stpn/ops/undispatched/fixed_weights.h"

namespace stpn::nn {

base::Field normalised_field(bool& normalised) {
  return base::field("normalised", normalised,
                     "divide each row of the weights by its 2-norm, as the STPN's efficacies are");
}

Recurrence::Recurrence(int64_t input_size, int64_t hidden_size, RecurrenceLayout layout)
    : Unit(input_size, hidden_size), layout_(std::move(layout)) {
  STPN_CHECK(input_size >= 1, "input_size is {}", input_size);
  STPN_CHECK(hidden_size >= 1, "hidden_size is {}", hidden_size);
  const int64_t rows = kernels::gates_of(layout_.cell) * hidden_size;
  weight_ih_ = register_parameter("weight_ih", torch::zeros({rows, input_size}));
  weight_hh_ = register_parameter("weight_hh", torch::zeros({rows, hidden_size}));
  for (const auto& name : layout_.biases) {
    biases_.push_back(register_parameter(name, torch::zeros({rows})));
  }
}

UnitOutput Recurrence::forward(const UnitInput& input) {
  check_input(input);
  const State state = input.state.empty() ? initial_state(input.x.size(1)) : input.state;
  ops::FixedWeightsCall call{.cell = layout_.cell,
                             .x = input.x,
                             .h = state[0].second,
                             .c = {},
                             .weight_ih = weight_ih_,
                             .weight_hh = weight_hh_,
                             .bias_ih = biases_[0],
                             .bias_hh = {},
                             .reset = input.reset,
                             .closed_loop = input.closed_loop};
  if (state.size() > 1) call.c = state[1].second;
  if (biases_.size() > 1) call.bias_hh = biases_[1];
  torch::Tensor weight;
  if (layout_.normalised || input.energy) weight = torch::cat({weight_ih_, weight_hh_}, 1);
  if (layout_.normalised) {
    weight = normalised_rows(weight);
    const auto parts = weight.split_with_sizes({input_size(), hidden_size()}, 1);
    call.weight_ih = parts[0];
    call.weight_hh = parts[1];
  }

  auto results = ops::run_fixed_weights(call);
  UnitOutput output;
  output.y = std::move(results[0]);
  for (size_t i = 0; i < state.size(); ++i) {
    output.state.emplace_back(layout_.state[i], std::move(results[i + 1]));
  }
  if (input.energy) {
    const auto last = ops::last_activities(state[0].second, output.y, input.reset);
    const torch::Tensor of_rows =
        ops::energy_of_fixed_weights(weight, torch::cat({input.x, last}, 2), measured());
    output.energy = of_rows.unflatten(2, {-1, hidden_size()}).sum(2);  // over the gates
  }
  return output;
}

StateShapes Recurrence::state_shapes() const {
  StateShapes shapes;
  for (const auto& name : layout_.state) shapes.push_back({name, {hidden_size()}});
  return shapes;
}

void Recurrence::reset_parameters(uint64_t seed) {
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size()));
  uint64_t index = 0;
  for (const auto& parameter : parameters()) uniform_(parameter, -bound, bound, seed, index++);
}

}  // namespace stpn::nn
