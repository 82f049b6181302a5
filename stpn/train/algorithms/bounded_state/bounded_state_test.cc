#include "stpn/train/algorithms/bounded_state/bounded_state.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "stpn/nn/initialisation.h"
#include "stpn/nn/models/classifier.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/train/algorithms/agent_test_support.h"

namespace stpn::train::bounded_state_test {
namespace {

constexpr int64_t kSteps = 8, kSamples = 3, kInputs = 3, kFirst = 2;

nn::Classifier make_model(const std::string& unit, torch::Dtype dtype, double largest_weight,
                          int neurons = 5) {
  nn::Classifier model(
      options_of(unit, {fmt::format("unit.hidden_size={}", neurons)})->make(kInputs), 4);
  model.to(dtype);
  uint64_t index = 0;
  for (auto& parameter : model.parameters()) {
    nn::uniform_(parameter, -largest_weight, largest_weight, 3, index++);
  }
  return model;
}

torch::Tensor random(at::IntArrayRef shape, uint64_t seed) {
  torch::Tensor values = torch::empty(shape, torch::kDouble);
  nn::uniform_(values, -1, 1, seed, 0);
  return values;
}

nn::Classifier::Output forward_bounded(nn::Classifier& model, const nn::UnitInput& input,
                                       int64_t first, const StateGradientBound& bound) {
  const nn::UnitOutput output = train::forward_bounded(model.unit(), input, bound);
  return {model.logits(output.y, first), output.energy, output.state};
}

nn::UnitInput some_input() {
  torch::Tensor reset = torch::zeros({kSteps, kSamples}, torch::kBool);
  reset[6][1] = true;
  return {.x = random({kSteps, kSamples, kInputs}, 5), .reset = reset, .energy = true};
}

// The same weights for every output in all tests; those of sample 0 are small.
torch::Tensor weighted(const nn::Classifier::Output& output) {
  const torch::Tensor sizes = torch::tensor({0.01, 1.0, 1.0}, torch::kDouble);
  const torch::Tensor logits = output.logits.view({-1, kSamples, 4}).sum(2);
  return (logits * sizes).sum() + 0.01 * (output.energy.sum(2) * sizes).sum();
}

class BoundedState : public testing::TestWithParam<const char*> {
  const ops::BackendGuard reference_{ops::Backend::reference};
};

TEST_P(BoundedState, ChangesNothingIfTheBoundIsFar) {
  nn::Classifier model = make_model(GetParam(), torch::kDouble, 0.5);
  const nn::UnitInput input = some_input();
  const auto whole = model.forward(input, kFirst);
  const auto expected = torch::autograd::grad({weighted(whole)}, model.parameters());
  for (const int64_t steps : {1, 3, 8, 20}) {
    const auto output = forward_bounded(model, input, kFirst, {.steps = steps, .most = 1e6});
    EXPECT_TRUE(output.logits.allclose(whole.logits, 0, 1e-12));
    EXPECT_TRUE(output.energy.allclose(whole.energy, 0, 1e-12));
    for (size_t i = 0; i < whole.state.size(); ++i) {
      EXPECT_TRUE(output.state[i].second.allclose(whole.state[i].second, 0, 1e-12));
    }
    const auto gradients = torch::autograd::grad({weighted(output)}, model.parameters());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(gradients[i].allclose(expected[i], 0, 1e-11)) << steps << " " << i;
    }
  }
}

TEST_P(BoundedState, ScalesTheGradientOfEachSampleAndStateTensor) {
  constexpr int64_t kCut = 5;
  constexpr double kMost = 0.05;
  nn::Classifier model = make_model(GetParam(), torch::kDouble, 0.5);
  const nn::UnitInput input = some_input();
  const auto part = [&](int64_t begin, int64_t end, const nn::State& state) {
    nn::UnitInput of_part = input;
    of_part.x = input.x.slice(0, begin, end);
    of_part.reset = input.reset.slice(0, begin, end);
    of_part.state = state;
    return model.forward(of_part, begin == 0 ? kFirst : 0);
  };
  const auto early = part(0, kCut, {});
  nn::State cut = early.state;
  std::vector<torch::Tensor> sources = model.parameters(), states, back;
  const size_t parameters = sources.size();
  for (auto& [name, tensor] : cut) {
    tensor = tensor.detach().requires_grad_();
    sources.push_back(tensor);
  }
  auto expected = torch::autograd::grad({weighted(part(kCut, kSteps, cut))}, sources);
  int scaled = 0;
  for (size_t i = 0; i < cut.size(); ++i) {
    torch::Tensor gradient = expected[parameters + i];
    for (int64_t b = 0; b < kSamples; ++b) {
      const double norm = gradient[b].norm().item<double>();
      if (norm <= kMost) continue;
      gradient[b].mul_(kMost / norm);
      ++scaled;
    }
    states.push_back(early.state[i].second);
    back.push_back(gradient);
  }
  ASSERT_GT(scaled, 0);
  ASSERT_LT(scaled, static_cast<int>(kSamples * cut.size()));
  states.push_back(weighted(early));
  back.push_back(torch::ones({}, torch::kDouble));
  const auto of_early = torch::autograd::grad(states, model.parameters(), back);

  const auto output = forward_bounded(model, input, kFirst, {.steps = kCut, .most = kMost});
  const auto gradients = torch::autograd::grad({weighted(output)}, model.parameters());
  for (size_t i = 0; i < parameters; ++i) {
    EXPECT_TRUE(gradients[i].allclose(expected[i] + of_early[i], 0, 1e-11)) << i;
  }
}

TEST_P(BoundedState, ABoundOfZeroCutsTheGradientOff) {
  nn::Classifier model = make_model(GetParam(), torch::kDouble, 0.5);
  nn::UnitInput input = some_input();
  input.x.requires_grad_();
  const auto output = forward_bounded(model, input, kFirst, {.steps = 7, .most = 0});
  const torch::Tensor last = output.logits.slice(0, -kSamples);
  const torch::Tensor gradient = torch::autograd::grad({last.sum()}, {input.x}).front();
  EXPECT_TRUE(gradient.slice(0, 0, 7).eq(0).all().item<bool>());
  EXPECT_TRUE(gradient[7].ne(0).all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Units, BoundedState,
                         testing::Values("stpn_recurrent", "fast_weights", "backpropamine", "lstm",
                                         "gru"),
                         [](const auto& unit) { return unit.param; });

TEST(BoundedStateTest, KeepsTheGradientOfAChaoticNetworkFinite) {
  nn::Classifier model = make_model("rnn", torch::kFloat, 1, 40);
  const nn::UnitInput input = {.x = random({2000, kSamples, kInputs}, 5).to(torch::kFloat)};
  const auto is_finite = [&](double most) {
    const auto output = forward_bounded(model, input, 1999, {.steps = 32, .most = most});
    for (const auto& gradient : torch::autograd::grad({output.logits.sum()}, model.parameters())) {
      if (!gradient.isfinite().all().item<bool>()) return false;
    }
    return true;
  };
  EXPECT_FALSE(is_finite(std::numeric_limits<double>::infinity()));
  EXPECT_TRUE(is_finite(1));
}

}  // namespace
}  // namespace stpn::train::bounded_state_test
