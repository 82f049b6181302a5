#include "stpn/nn/models/classifier.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/library/lstm.h"

namespace stpn::nn::classifier_test {
namespace {

Classifier make_classifier(int64_t inputs = 3, int64_t hidden = 4, int64_t classes = 5) {
  LstmOptions options;
  options.hidden_size = hidden;
  Classifier model(options.make(inputs), classes);
  model.reset_parameters(1);
  return model;
}

TEST(ClassifierTest, LogitsAreTheHeadOfTheLastHiddenState) {
  auto model = make_classifier();
  const auto x = torch::randn({6, 2, 3});
  const auto output = model.forward(x);
  const auto named = model.named_parameters();
  const auto last = model.unit().forward({x, {}, {}}).y[5];
  EXPECT_TRUE(output.logits.allclose(last.matmul(named["head.weight"].t()) + named["head.bias"]));
  EXPECT_EQ(output.logits.sizes(), torch::IntArrayRef({2, 5}));
  EXPECT_FALSE(output.energy.defined());
}

TEST(ClassifierTest, EnergyIsTheUnitsAndNotTheHeads) {
  auto model = make_classifier();
  const auto x = torch::randn({6, 2, 3});
  EXPECT_TRUE(model.forward(x, true).energy.equal(model.unit().forward({x, {}, {}, true}).energy));
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
    torch::nn::functional::cross_entropy(model.forward(x).logits, label).backward();
    adam.step();
  }
  const auto [x, label] = batch(1000);
  const auto right = model.forward(x).logits.argmax(1).eq(label).sum().item<int64_t>();
  EXPECT_GT(right, 850);
}

TEST(ClassifierTest, RefusesWhatCannotBe) {
  EXPECT_THROW(Classifier(nullptr, 2), base::UserError);
  EXPECT_THROW(Classifier(LstmOptions().make(2), 0), base::UserError);
  auto model = make_classifier();
  EXPECT_THROW(model.forward(torch::randn({6, 2, 4})), base::UserError);
}

}  // namespace
}  // namespace stpn::nn::classifier_test
