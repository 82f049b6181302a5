// Runs the unit over a sequence: its inputs and outputs, its state from one call to the next, and
// its energy.
//
//   build/bin/example_01_unit_over_a_sequence
#include <iostream>

#include "stpn/nn/stpn/stpn_recurrent.h"

int main() {
  stpn::nn::StpnRecurrentOptions options;
  options.hidden_size = 8;
  const auto unit = options.make(/*input_size=*/5);
  unit->reset_parameters(/*seed=*/1);
  std::cout << "A unit of " << unit->hidden_size() << " neurons has "
            << stpn::nn::parameter_count(*unit) << " parameters.\n";

  // Time is the first dimension: 20 steps, 3 samples, 5 inputs. Without a state, it starts from
  // zeros.
  torch::manual_seed(0);
  const torch::Tensor x = torch::randn({20, 3, 5});
  const stpn::nn::UnitOutput whole =
      unit->forward({.x = x, .state = {}, .reset = {}, .energy = true});
  std::cout << "Output: " << whole.y.sizes() << " (steps, samples, neurons).\n";

  // The state is the last activity h and the fast weights F, one for every synapse of every sample.
  for (const auto& [name, tensor] : whole.state) {
    std::cout << "State " << name << ": " << tensor.sizes() << "\n";
  }

  // The state is all that the unit remembers: passed from call to call, two parts equal the whole.
  const auto first = unit->forward({.x = x.slice(0, 0, 8), .state = {}, .reset = {}});
  const auto second = unit->forward({.x = x.slice(0, 8), .state = first.state, .reset = {}});
  const bool same = torch::allclose(torch::cat({first.y, second.y}), whole.y);
  std::cout << "Two parts " << (same ? "equal" : "differ from") << " the whole.\n";

  // The energy of every neuron at every step.
  const torch::Tensor energy = whole.energy.sum(-1).mean();
  std::cout << "Energy: " << energy.item<float>() << " per step on average.\n";
  return same && energy.item<float>() > 0 ? 0 : 1;
}
