#include "stpn/nn/models/classifier.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/library/lstm.h"
#include "stpn/nn/stpn/stpn_feedforward.h"
#include "stpn/ops/runtime/backend.h"

namespace stpn::nn::classifier_test {
namespace {

Classifier make_classifier(int64_t inputs = 3, int64_t hidden = 4, int64_t classes = 5) {
  LstmOptions options;
  options.hidden_size = hidden;
  Classifier model(options.make(inputs), classes);
  model.reset_parameters(1);
  return model;
}

TEST(ClassifierTest, TheHeadStartsLikeItsUnit) {
  StpnFeedforwardOptions options;
  options.hidden_size = 4;
  for (const std::string initialisation : {"uniform", "normal"}) {
    options.initialisation = initialisation;
    Classifier model(options.make(3), 300);
    model.reset_parameters(1);
    const auto named = model.named_parameters();
    const bool normal = initialisation == "normal";
    EXPECT_EQ(named["head.weight"].abs().max().item<double>() > 0.5, normal);
    EXPECT_EQ(named["head.bias"].abs().max().item<double>() > 0.5, normal);
    if (!normal) continue;
    EXPECT_NEAR(named["head.weight"].std().item<double>(), 0.5, 4 * 0.5 / 49);
    EXPECT_NEAR(named["head.bias"].std().item<double>(), 1, 4.0 / 24);
  }
}

TEST(ClassifierTest, CountsAnswersOfYes) {
  const auto logits = torch::tensor({1.0f, -1.0f, 2.0f, 3.0f, -2.0f, 0.5f}).unsqueeze(1);
  const auto targets = torch::tensor({1, 1, 0, -1, 0, 1}, torch::kInt64);
  const YesCounts counts = count_yes(logits, targets);
  EXPECT_EQ(counts.yes, 3);
  EXPECT_EQ(counts.no, 2);
  EXPECT_EQ(counts.hits, 2);
  EXPECT_EQ(counts.false_alarms, 1);
  EXPECT_THROW(count_yes(torch::zeros({6, 2}), targets), base::UserError);
}

TEST(ClassifierTest, LogitsAreTheHeadOfTheHiddenStates) {
  auto model = make_classifier();
  const auto x = torch::randn({6, 2, 3});
  const auto output = model.forward({.x = x});
  const auto named = model.named_parameters();
  const auto of_unit = model.unit().forward({.x = x});
  const auto expected = of_unit.y.matmul(named["head.weight"].t()) + named["head.bias"];
  EXPECT_EQ(output.logits.sizes(), torch::IntArrayRef({12, 5}));
  EXPECT_TRUE(output.logits.allclose(expected.flatten(0, 1)));
  EXPECT_FALSE(output.energy.defined());
  for (size_t i = 0; i < of_unit.state.size(); ++i) {
    EXPECT_TRUE(output.state[i].second.equal(of_unit.state[i].second));
  }
  EXPECT_TRUE(model.forward({.x = x}, 4).logits.allclose(expected.slice(0, 4).flatten(0, 1)));
  EXPECT_TRUE(model.forward({.x = x}, 5).logits.allclose(expected[5]));
  EXPECT_EQ(model.forward({.x = x}, 6).logits.sizes(), torch::IntArrayRef({0, 5}));
}

TEST(ClassifierTest, GoesOnFromAState) {
  auto model = make_classifier();
  const auto x = torch::randn({6, 2, 3});
  const auto first = model.forward({.x = x.slice(0, 0, 2)});
  const auto rest = model.forward({.x = x.slice(0, 2), .state = first.state});
  EXPECT_TRUE(
      torch::cat({first.logits, rest.logits}).allclose(model.forward({.x = x}).logits, 1e-5, 1e-6));
}

// The definition, target by target.
double loss_of(const torch::Tensor& logits, int64_t target) {
  const auto values = logits.to(torch::kDouble);
  if (values.numel() == 1) {
    const double yes = 1 / (1 + std::exp(-values.item<double>()));
    return -std::log(target == 1 ? yes : 1 - yes);
  }
  return -(values[target] - values.logsumexp(0)).item<double>();
}

TEST(ClassifierTest, LossesLeaveOutStepsWithoutATarget) {
  torch::manual_seed(2);
  for (const int64_t classes : {1, 2, 5}) {
    SCOPED_TRACE(classes);
    const auto logits = torch::randn({12, classes}).requires_grad_();
    auto targets = torch::randint(std::max<int64_t>(classes, 2), {12}, torch::kInt64);
    targets[1] = targets[6] = targets[11] = kNoTarget;
    const auto each = losses(logits, targets);
    EXPECT_EQ(each.sizes(), torch::IntArrayRef({12}));
    double sum = 0;
    int64_t right = 0;
    for (int64_t i = 0; i < 12; ++i) {
      const int64_t target = targets[i].item<int64_t>();
      const auto row = logits.detach()[i];
      const double expected = target == kNoTarget ? 0 : loss_of(row, target);
      EXPECT_NEAR(each[i].item<double>(), expected, 1e-5) << i;
      sum += expected;
      const int64_t answer = classes == 1 ? row.item<float>() > 0 : row.argmax().item<int64_t>();
      right += answer == target;
    }
    const auto loss = each.sum();
    EXPECT_NEAR(loss.item<double>(), sum, 1e-5);
    EXPECT_EQ(count_right(logits, targets), right);
    const auto gradient = torch::autograd::grad({loss}, {logits})[0];
    const auto asked = gradient.abs().sum(-1).gt(0);
    EXPECT_TRUE(asked.equal(targets.ne(kNoTarget)));
  }
}

TEST(ClassifierTest, LossesOfNoTargetsAreZero) {
  for (const int64_t classes : {1, 3}) {
    const auto logits = torch::randn({4, classes});
    const auto none = torch::full({4}, kNoTarget, torch::kInt64);
    EXPECT_EQ(losses(logits, none).abs().sum().item<double>(), 0);
    EXPECT_EQ(count_right(logits, none), 0);
  }
}

// Against libtorch's graph, over the whole sequence, some steps, the last one and none.
TEST(ClassifierTest, LossGradientsAreThoseOfTheGraph) {
  torch::manual_seed(3);
  constexpr int64_t kSteps = 6, kSamples = 7, kHidden = 4;
  constexpr double kScale = 0.25;
  for (const int64_t classes : {1, 2, 5, 37}) {
    for (const int64_t first : {0, 2, 5, 6}) {
      SCOPED_TRACE(fmt::format("{} classes, steps from {}", classes, first));
      auto model = make_classifier(3, kHidden, classes);
      const auto named = model.named_parameters();
      const auto y = torch::randn({kSteps, kSamples, kHidden}).requires_grad_();
      auto targets = torch::randint(std::max<int64_t>(classes, 2), {(kSteps - first) * kSamples},
                                    torch::kInt64);
      if (first < kSteps) targets[1] = targets[6] = kNoTarget;

      const auto& weight = named["head.weight"];
      const auto& bias = named["head.bias"];
      const auto logits = torch::linear(y.slice(0, first).flatten(0, 1), weight, bias);
      const auto loss = losses(logits, targets).sum();
      const auto expected = torch::autograd::grad({loss * kScale}, {y, weight, bias});

      const auto gradients = model.loss(y, targets, kScale);
      EXPECT_NEAR(gradients.loss, loss.item<double>(), 1e-5 * (1 + gradients.loss));
      EXPECT_TRUE(gradients.y.allclose(expected[0], 1e-5, 1e-7));
      EXPECT_TRUE(gradients.weight.allclose(expected[1], 1e-5, 1e-6));
      EXPECT_TRUE(gradients.bias.allclose(expected[2], 1e-5, 1e-6));
      EXPECT_FALSE(gradients.y.requires_grad());

      const ops::BackendGuard guard(ops::Backend::reference);
      const auto reference = model.loss(y, targets, kScale);
      EXPECT_NEAR(reference.loss, gradients.loss, 1e-5 * (1 + gradients.loss));
      EXPECT_TRUE(reference.weight.allclose(gradients.weight, 1e-5, 1e-6));
    }
  }
}

TEST(ClassifierTest, EnergyIsTheUnitsAndNotTheHeads) {
  auto model = make_classifier();
  const auto x = torch::randn({6, 2, 3});
  const UnitInput input = {.x = x, .energy = true};
  EXPECT_TRUE(model.forward(input).energy.equal(model.unit().forward(input).energy));
}

TEST(ClassifierTest, CountsUnitAndHead) {
  EXPECT_EQ(parameter_count(make_classifier()), 4 * 4 * (3 + 4 + 2) + 5 * (4 + 1));
}

TEST(ClassifierTest, SameSeedGivesSameParameters) {
  const auto one = make_classifier().parameters();
  auto other = make_classifier();
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(other.parameters()[i])) << i;
  other.reset_parameters(2);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_FALSE(one[i].equal(other.parameters()[i])) << i;
}

TEST(ClassifierTest, HeadLiesWithinItsBound) {
  const auto model = make_classifier(3, 16, 50);
  for (const auto* name : {"head.weight", "head.bias"}) {
    const double largest = model.named_parameters()[name].abs().max().item<double>();
    EXPECT_LE(largest, 0.25) << name;
    EXPECT_GT(largest, 0.22) << name;
  }
}

TEST(ClassifierTest, LearnsWhichInputCameFirst) {
  // Chance is 50 %: the answer is in the first of four steps, the rest is noise.
  torch::manual_seed(4);
  auto model = make_classifier(2, 8, 2);
  torch::optim::Adam adam(model.parameters(), torch::optim::AdamOptions(1e-2));
  const auto batch = [](int64_t size) {
    auto x = torch::randn({4, size, 2});
    return std::pair(x, (x[0].select(1, 0) > x[0].select(1, 1)).to(torch::kLong));
  };
  for (int step = 0; step < 200; ++step) {
    const auto [x, label] = batch(64);
    adam.zero_grad();
    torch::nn::functional::cross_entropy(model.forward({.x = x}, 3).logits, label).backward();
    adam.step();
  }
  const auto [x, label] = batch(1000);
  const auto right = model.forward({.x = x}, 3).logits.argmax(1).eq(label).sum().item<int64_t>();
  EXPECT_GT(right, 850);
}

TEST(ClassifierTest, RefusesWhatCannotBe) {
  EXPECT_THROW(Classifier(nullptr, 2), base::UserError);
  EXPECT_THROW(Classifier(LstmOptions().make(2), 0), base::UserError);
  auto model = make_classifier();
  EXPECT_THROW(model.forward({.x = torch::randn({6, 2, 4})}), base::UserError);
  const auto y = torch::randn({6, 2, 4});
  const auto targets = torch::zeros({12}, torch::kInt64);
  EXPECT_NO_THROW(model.loss(y, targets, 1));
  EXPECT_THROW(model.loss(y, torch::zeros({14}, torch::kInt64), 1), base::UserError);
  EXPECT_THROW(model.loss(y, targets + 5, 1), base::UserError) << "there are five classes";
  EXPECT_THROW(model.loss(y, targets.to(torch::kInt32), 1), base::UserError);
  EXPECT_THROW(model.loss(y.to(torch::kDouble), targets, 1), base::UserError);
  EXPECT_THROW(model.loss(y.slice(2, 0, 3), targets, 1), base::UserError);
}

}  // namespace
}  // namespace stpn::nn::classifier_test
