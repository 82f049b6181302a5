#include "stpn/nn/library/perceptron.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"

namespace stpn::nn::perceptron_test {
namespace {

std::shared_ptr<Unit> make_perceptron(int64_t inputs, int64_t hidden,
                                      const std::string& activation) {
  PerceptronOptions options;
  options.hidden_size = hidden;
  options.activation = activation;
  return options.make(inputs);
}

UnitCase case_of(const std::string& activation) {
  UnitCase result;
  result.name = "perceptron_" + activation;
  result.make = [activation](int64_t inputs, int64_t hidden) {
    return make_perceptron(inputs, hidden, activation);
  };
  result.recurrent = false;
  result.same_bits = false;
  return result;
}

INSTANTIATE_TEST_SUITE_P(Perceptron, UnitContract,
                         testing::Values(case_of("tanh"), case_of("sigmoid"), case_of("relu"),
                                         case_of("identity")),
                         unit_case_name);

TEST(PerceptronTest, MatchesTheEquationsForEachActivation) {
  torch::manual_seed(2);
  const auto x = torch::randn({4, 2, 3}, torch::kDouble);
  for (const std::string activation : {"tanh", "sigmoid", "relu", "identity"}) {
    const auto unit = make_perceptron(3, 2, activation);
    unit->to(torch::kDouble);
    unit->reset_parameters(5);
    const auto named = unit->named_parameters();
    const auto output = unit->forward({x, {}, torch::Tensor(), true});
    const auto drive = x.matmul(named["weight"].t()) + named["bias"];
    auto expected = drive;
    if (activation == "tanh") expected = 1 - 2 / ((2 * drive).exp() + 1);
    if (activation == "sigmoid") expected = 1 / (1 + (-drive).exp());
    if (activation == "relu") expected = (drive + drive.abs()) / 2;
    EXPECT_TRUE(output.y.allclose(expected, 1e-12, 1e-12)) << activation;
    const auto energy = x.square().matmul(named["weight"].abs().t());
    EXPECT_TRUE(output.energy.allclose(energy, 1e-12, 1e-12)) << activation;
  }
}

TEST(PerceptronTest, KnowsNothingOfOtherSteps) {
  torch::manual_seed(2);
  const auto unit = make_perceptron(3, 2, "tanh");
  unit->reset_parameters(5);
  EXPECT_TRUE(unit->initial_state(2).empty());
  const auto x = torch::randn({5, 2, 3});
  const auto output = unit->forward({x, {}, {}});
  EXPECT_TRUE(output.state.empty());
  EXPECT_TRUE(unit->forward({x.flip(0), {}, {}}).y.allclose(output.y.flip(0)));
}

TEST(PerceptronTest, ParametersLieWithinTheirBound) {
  const auto unit = make_perceptron(16, 7, "tanh");
  unit->reset_parameters(3);
  EXPECT_EQ(parameter_count(*unit), 7 * (16 + 1));
  for (const auto& item : unit->named_parameters()) {
    const double largest = item.value().abs().max().item<double>();
    EXPECT_LE(largest, 0.25) << item.key();
    EXPECT_GT(largest, 0.15) << item.key();
  }
}

TEST(PerceptronTest, OptionsRefuseNoUnitsAndUnknownActivations) {
  EXPECT_THROW(make_perceptron(3, 0, "tanh"), base::UserError);
  EXPECT_THROW(make_perceptron(0, 3, "tanh"), base::UserError);
  EXPECT_THROW(make_perceptron(3, 3, "step"), base::UserError);
  PerceptronOptions options;
  ASSERT_EQ(options.fields().size(), 2u);
  EXPECT_EQ(options.fields()[0].range.least, 1);
  EXPECT_EQ(options.fields()[1].choices,
            (std::vector<std::string>{"tanh", "sigmoid", "relu", "identity"}));
}

}  // namespace
}  // namespace stpn::nn::perceptron_test
