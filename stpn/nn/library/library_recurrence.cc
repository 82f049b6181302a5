#include "stpn/nn/library/library_recurrence.h"

#include <cmath>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/library/normalised_rows.h"
#include "stpn/ops/energy.h"

namespace stpn::nn {
namespace {

// The steps at which sequences are cut: 0, each later step that has a reset, and T.
std::vector<int64_t> cuts_of(const torch::Tensor& reset, int64_t steps) {
  std::vector<int64_t> cuts = {0};
  if (reset.defined()) {
    const auto any = reset.any(1);
    for (int64_t t = 1; t < steps; ++t) {
      if (any[t].item<bool>()) cuts.push_back(t);
    }
  }
  cuts.push_back(steps);
  return cuts;
}

}  // namespace

base::Field normalised_field(bool& normalised) {
  return base::field("normalised", normalised,
                     "divide each row of the weights by its 2-norm, as the STPN's efficacies are");
}

LibraryRecurrence::LibraryRecurrence(int64_t input_size, int64_t hidden_size, LibraryLayout layout)
    : Unit(input_size, hidden_size), layout_(std::move(layout)) {
  STPN_CHECK(input_size >= 1, "input_size is {}", input_size);
  STPN_CHECK(hidden_size >= 1, "hidden_size is {}", hidden_size);
  const int64_t rows = layout_.gates * hidden_size;
  weight_ih_ = register_parameter("weight_ih", torch::zeros({rows, input_size}));
  weight_hh_ = register_parameter("weight_hh", torch::zeros({rows, hidden_size}));
  for (const auto& name : layout_.biases) {
    biases_.push_back(register_parameter(name, torch::zeros({rows})));
  }
}

UnitOutput LibraryRecurrence::forward(const UnitInput& all_input) {
  check_input(all_input);
  const UnitInput input = walk_through(all_input);
  const auto& x = input.x;
  torch::Tensor weight = torch::cat({weight_ih_, weight_hh_}, 1);
  Tensors parameters = {weight_ih_, weight_hh_};
  if (layout_.normalised) {
    weight = normalised_rows(weight);
    parameters = weight.split_with_sizes({input_size(), hidden_size()}, 1);
  }
  parameters.insert(parameters.end(), biases_.begin(), biases_.end());
  Tensors states;
  for (const auto& [name, tensor] : input.state.empty() ? initial_state(x.size(1)) : input.state) {
    states.push_back(tensor.unsqueeze(0));
  }

  // One call of the library for each run of steps between resets.
  const auto cuts = cuts_of(input.reset, x.size(0));
  Tensors outputs;
  Tensors before;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    const int64_t begin = cuts[i];
    const int64_t end = cuts[i + 1];
    if (input.reset.defined()) {
      const auto mark = input.reset[begin].unsqueeze(1);
      for (auto& state : states) state = state.masked_fill(mark, 0);
    }
    Tensors results = run(x.slice(0, begin, end), states, parameters);
    if (input.energy) {
      before.push_back(states[0]);
      before.push_back(results[0].slice(0, 0, end - begin - 1));
    }
    outputs.push_back(results[0]);
    states.assign(results.begin() + 1, results.end());
  }

  UnitOutput output;
  output.y = outputs.size() == 1 ? outputs[0] : torch::cat(outputs);
  for (size_t i = 0; i < states.size(); ++i) {
    output.state.emplace_back(layout_.state[i], states[i].squeeze(0));
  }
  if (input.energy) {
    const auto z = torch::cat({x, torch::cat(before)}, 2);
    output.energy = ops::energy_of_fixed_weights(weight, z, measured());
  }
  return output;
}

StateShapes LibraryRecurrence::state_shapes() const {
  StateShapes shapes;
  for (const auto& name : layout_.state) shapes.push_back({name, {hidden_size()}});
  return shapes;
}

void LibraryRecurrence::reset_parameters(uint64_t seed) {
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size()));
  uint64_t index = 0;
  for (const auto& parameter : parameters()) uniform_(parameter, -bound, bound, seed, index++);
}

}  // namespace stpn::nn
