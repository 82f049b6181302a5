// What the tests of a unit's contract share: random inputs, losses, comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "stpn/nn/tolerances.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

struct Sizes {
  int64_t steps, batch, inputs, hidden;
};

inline torch::Tensor random_like(const torch::Tensor& tensor) {
  return torch::randn_like(tensor) * 0.5;
}

inline UnitInput random_input(const Unit& unit, int64_t steps, int64_t batch, bool with_reset) {
  UnitInput input;
  input.state = unit.initial_state(batch);
  for (auto& [name, tensor] : input.state) tensor = random_like(tensor).requires_grad_();
  const auto options = unit.parameters().front().options().requires_grad(false);
  input.x = torch::randn({steps, batch, unit.input_size()}, options).requires_grad_();
  if (with_reset) input.reset = torch::rand({steps, batch}) < 0.3;
  return input;
}

// Weights of the loss: one for each value of the output, the final state and the energy, if it was
// measured.
struct Cotangents {
  torch::Tensor y;
  std::vector<torch::Tensor> state;
  torch::Tensor energy;
};

inline Cotangents random_cotangents(const UnitOutput& output) {
  Cotangents weights{torch::randn_like(output.y), {}, {}};
  if (output.energy.defined()) weights.energy = torch::randn_like(output.energy);
  for (const auto& [name, state] : output.state) weights.state.push_back(torch::randn_like(state));
  return weights;
}

inline torch::Tensor loss_of(const UnitOutput& output, const Cotangents& weights) {
  auto loss = (output.y * weights.y).sum();
  if (weights.energy.defined()) loss = loss + (output.energy * weights.energy).sum();
  for (size_t i = 0; i < output.state.size(); ++i) {
    loss = loss + (output.state[i].second * weights.state[i]).sum();
  }
  return loss;
}

// x, the states and the parameters, by name.
std::vector<std::pair<std::string, torch::Tensor>> leaves_of(const Unit& unit,
                                                             const UnitInput& input) {
  std::vector<std::pair<std::string, torch::Tensor>> leaves = {{"x", input.x}};
  for (const auto& [name, tensor] : input.state) leaves.emplace_back("state " + name, tensor);
  for (const auto& item : unit.named_parameters()) leaves.emplace_back(item.key(), item.value());
  return leaves;
}

inline std::vector<torch::Tensor> gradients_of(const torch::Tensor& loss, const Unit& unit,
                                               const UnitInput& input) {
  std::vector<torch::Tensor> leaves;
  for (const auto& [name, tensor] : leaves_of(unit, input)) leaves.push_back(tensor);
  return torch::autograd::grad({loss}, leaves);
}

// Within the tolerance as a whole, and row by row (tolerances.h).
inline void expect_close(const torch::Tensor& a, const torch::Tensor& b, double tolerance,
                         const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const auto error = (a - b).abs();
  const double size = std::max(1.0, b.abs().max().item<double>());
  EXPECT_LE(error.max().item<double>(), tolerance * size) << what;
  if (b.dim() == 0) return;
  const auto rows = error.amax(-1) / (b.abs().amax(-1) + kRowFloor * size);
  EXPECT_LE(rows.max().item<double>(), tolerance) << "a row of " << what;
}

// Every partial derivative against a central difference of fourth order: where a row's norm is
// small, the plain one is too coarse.
inline void expect_gradients_match_differences(Unit& unit, const UnitInput& input) {
  const auto weights = random_cotangents(unit.forward(input));
  const auto gradients = gradients_of(loss_of(unit.forward(input), weights), unit, input);
  const auto leaves = leaves_of(unit, input);
  torch::NoGradGuard no_grad;
  constexpr double kStep = 1e-4;
  for (size_t k = 0; k < leaves.size(); ++k) {
    auto values = leaves[k].second.view(-1);
    auto expected = torch::empty_like(values);
    for (int64_t i = 0; i < values.numel(); ++i) {
      const double value = values[i].item<double>();
      const auto loss_at = [&](double offset) {
        values[i] = value + offset;
        return loss_of(unit.forward(input), weights).item<double>();
      };
      const double near = loss_at(kStep) - loss_at(-kStep);
      const double far = loss_at(2 * kStep) - loss_at(-2 * kStep);
      values[i] = value;
      expected[i] = (8 * near - far) / (12 * kStep);
    }
    expect_close(gradients[k], expected.view_as(gradients[k]), kFiniteDifferenceTolerance,
                 leaves[k].first);
  }
}

inline void expect_same(const UnitOutput& a, const UnitOutput& b, const std::string& what) {
  expect_close(a.y, b.y, kSameInDoubleTolerance, what + ": y");
  for (size_t i = 0; i < a.state.size(); ++i) {
    expect_close(a.state[i].second, b.state[i].second, kSameInDoubleTolerance,
                 what + ": " + a.state[i].first);
  }
}

inline UnitInput steps_of(const UnitInput& input, int64_t begin, int64_t end, const State& state) {
  UnitInput part;
  part.x = input.x.slice(0, begin, end);
  part.state = state;
  if (input.reset.defined()) part.reset = input.reset.slice(0, begin, end);
  part.energy = input.energy;
  return part;
}

}  // namespace stpn::nn
