#include "stpn/nn/library/perceptron.h"

#include <fmt/ranges.h>

#include <cmath>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/library/normalised_rows.h"
#include "stpn/ops/energy.h"

namespace stpn::nn {
namespace {

using Activation = torch::Tensor (*)(const torch::Tensor& preactivation);

const std::vector<std::pair<std::string, Activation>> kActivations = {
    {"tanh", at::tanh},
    {"sigmoid", at::sigmoid},
    {"relu", at::relu},
    {"identity", [](const torch::Tensor& preactivation) { return preactivation; }}};

std::vector<std::string> activation_names() {
  std::vector<std::string> names;
  for (const auto& [name, activation] : kActivations) names.push_back(name);
  return names;
}

Activation find_activation(const std::string& wanted) {
  for (const auto& [name, activation] : kActivations) {
    if (name == wanted) return activation;
  }
  throw base::UserError(fmt::format("activation is \"{}\", wants one of {}", wanted,
                                    fmt::join(activation_names(), ", ")));
}

}  // namespace

std::vector<base::Field> PerceptronOptions::fields() {
  return {base::field("hidden_size", hidden_size, "units; cost grows with them",
                      {.least = 1, .most = kMostNeurons}),
          base::field("activation", activation, "of the units", activation_names())};
}

std::shared_ptr<Unit> PerceptronOptions::make(int64_t input_size) const {
  return make_unit<Perceptron>(input_size, *this);
}

Perceptron::Perceptron(int64_t input_size, const PerceptronOptions& options)
    : Unit(input_size, options.hidden_size), activation_(find_activation(options.activation)) {
  STPN_CHECK(input_size >= 1, "input_size is {}", input_size);
  STPN_CHECK(hidden_size() >= 1, "hidden_size is {}", hidden_size());
  weight_ = register_parameter("weight", torch::zeros({hidden_size(), input_size}));
  bias_ = register_parameter("bias", torch::zeros({hidden_size()}));
}

UnitOutput Perceptron::forward(const UnitInput& all_input) {
  check_input(all_input);
  const UnitInput input = walk_through(all_input);
  UnitOutput output;
  output.y = activation_(at::linear(input.x, weight_, bias_));
  if (input.energy) output.energy = ops::energy_of_fixed_weights(weight_, input.x, measured());
  return output;
}

StateShapes Perceptron::state_shapes() const { return {}; }

void Perceptron::reset_parameters(uint64_t seed) {
  const double bound = 1 / std::sqrt(static_cast<double>(input_size()));
  uniform_(weight_, -bound, bound, seed, 0);
  uniform_(bias_, -bound, bound, seed, 1);
}

}  // namespace stpn::nn
