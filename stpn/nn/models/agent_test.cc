#include "stpn/nn/models/agent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "stpn/base/testing.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/library/lstm.h"

namespace stpn::nn::agent_test {
namespace {

std::shared_ptr<Unit> make_lstm() {
  LstmOptions options;
  options.hidden_size = 16;
  return options.make(3);
}

Agent make_agent() {
  Agent agent(nullptr, make_lstm(), make_choice_head(16, 4));
  agent.reset_parameters(1);
  return agent;
}

TEST(AgentTest, HeadsAreOfEveryStep) {
  auto agent = make_agent();
  UnitInput input;
  input.x = torch::randn({6, 2, 3});
  const auto output = agent.forward(input);
  const auto y = agent.unit().forward(input).y;
  const auto named = agent.named_parameters();
  const auto logits = y.matmul(named["policy.weight"].t()) + named["policy.bias"];
  for (int64_t a = 0; a < 4; ++a) {
    const auto action = torch::full({6, 2}, a, torch::kInt64);
    EXPECT_TRUE(
        output.policy->log_prob(action).allclose(logits.select(2, a) - logits.logsumexp(2)));
  }
  EXPECT_TRUE(output.policy->squared_norm().allclose(logits.softmax(2).square().sum(2)));
  EXPECT_TRUE(output.value.allclose(y.matmul(named["value.weight"][0]) + named["value.bias"]));
  EXPECT_EQ(output.value.sizes(), torch::IntArrayRef({6, 2}));
  EXPECT_FALSE(output.energy.defined());
}

TEST(AgentTest, EnergyIsTheUnitsAndNotTheHeads) {
  auto agent = make_agent();
  UnitInput input;
  input.x = torch::randn({6, 2, 3});
  input.energy = true;
  EXPECT_TRUE(agent.forward(input).energy.equal(agent.unit().forward(input).energy));
}

TEST(AgentTest, HeadsLieWithinTheirBoundAndDependOnTheSeed) {
  auto agent = make_agent();
  const auto before = agent.policy_head().weight().detach().clone();
  for (const char* name : {"policy.weight", "policy.bias", "value.weight", "value.bias"}) {
    const auto parameter = agent.named_parameters()[name];
    EXPECT_LE(parameter.abs().max().item<double>(), 0.25) << name;
    EXPECT_GT(parameter.abs().max().item<double>(), 0.01) << name;
  }
  EXPECT_EQ(parameter_count(agent), 4 * 16 * (3 + 16 + 2) + 4 * (16 + 1) + 16 + 1);
  agent.reset_parameters(2);
  EXPECT_FALSE(agent.policy_head().weight().equal(before));
}

TEST(AgentTest, RejectsAPolicyOfAnotherUnit) {
  base::testing::error_of([] { Agent(nullptr, make_lstm(), make_choice_head(15, 4)); });
  base::testing::error_of([] { make_choice_head(16, 0); });
  base::testing::error_of([] { make_number_head(16, 33); });
}

// A head for two numbers whose outputs are its bias: means 1 and -2, s = 0.25 and -1.
std::shared_ptr<PolicyHead> number_head(torch::Dtype dtype) {
  auto head = make_number_head(3, 2);
  head->to(dtype);
  const torch::NoGradGuard no_grad;
  head->bias().copy_(torch::tensor({1.0, -2.0, 0.25, -1.0}));
  return head;
}

TEST(NumberPolicyTest, IsANormalDistributionOfEachNumber) {
  const auto policy = number_head(torch::kDouble)->forward(torch::zeros({1, 1, 3}, torch::kDouble));
  const double deviation[] = {std::log1p(std::exp(0.25)), std::log1p(std::exp(-1.0))};
  const double mean[] = {1, -2}, action[] = {0.5, 0.25};
  double log_prob = 0, squared_norm = 1;
  for (int k = 0; k < 2; ++k) {
    const double z = (action[k] - mean[k]) / deviation[k];
    log_prob += -0.5 * z * z - std::log(deviation[k] * std::sqrt(2 * M_PI));
    // The integral of the squared density, by the midpoint rule.
    double integral = 0;
    for (double x = -12 + 0.0005; x < 12; x += 0.001) {
      const double density = std::exp(-0.5 * x * x) / (deviation[k] * std::sqrt(2 * M_PI));
      integral += density * density * deviation[k] * 0.001;
    }
    squared_norm *= integral;
  }
  const auto taken = torch::tensor({0.5, 0.25}, torch::kDouble).view({1, 1, 2});
  EXPECT_NEAR(policy->log_prob(taken).item<double>(), log_prob, 1e-12);
  EXPECT_NEAR(policy->squared_norm().item<double>(), squared_norm, 1e-9);
}

template <typename T>
void draws_from_the_distribution(torch::Dtype dtype) {
  const auto sampler = number_head(dtype)->sampler();
  const std::vector<T> h(3, T(0));
  constexpr int kDraws = 20'000;
  double sum[2] = {}, squares[2] = {}, product = 0;
  for (int i = 0; i < kDraws; ++i) {
    float numbers[2];
    base::Random random(1, base::Stream::actions, static_cast<uint64_t>(i));
    EXPECT_EQ(sampler->draw(h.data(), &random, numbers), 0);
    for (int k = 0; k < 2; ++k) {
      sum[k] += numbers[k];
      squares[k] += static_cast<double>(numbers[k]) * numbers[k];
    }
    product += (numbers[0] - 1) * (numbers[1] + 2);
  }
  const double mean[] = {1, -2};
  const double deviation[] = {std::log1p(std::exp(0.25)), std::log1p(std::exp(-1.0))};
  for (int k = 0; k < 2; ++k) {
    const double found = sum[k] / kDraws;
    EXPECT_NEAR(found, mean[k], 5 * deviation[k] / std::sqrt(kDraws));
    EXPECT_NEAR(std::sqrt(squares[k] / kDraws - found * found), deviation[k], 0.03 * deviation[k]);
  }
  EXPECT_NEAR(product / kDraws, 0, 5 * deviation[0] * deviation[1] / std::sqrt(kDraws));
  float most_probable[2];
  sampler->draw(h.data(), nullptr, most_probable);
  EXPECT_EQ(most_probable[0], 1);
  EXPECT_EQ(most_probable[1], -2);
}

TEST(NumberSamplerTest, DrawsFromTheDistribution) {
  draws_from_the_distribution<float>(torch::kFloat);
  draws_from_the_distribution<double>(torch::kDouble);
}

TEST(ChoiceSamplerTest, WithoutRandomNumbersTakesTheMostProbable) {
  auto head = make_choice_head(2, 3);
  const torch::NoGradGuard no_grad;
  head->bias().copy_(torch::tensor({0.5, 0.7, 0.6}));
  const float h[2] = {};
  EXPECT_EQ(head->sampler()->draw(h, nullptr, nullptr), 1);
}

}  // namespace
}  // namespace stpn::nn::agent_test
