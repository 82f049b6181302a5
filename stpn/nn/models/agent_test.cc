#include "stpn/nn/models/agent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "stpn/base/testing.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/library/lstm.h"
#include "stpn/nn/models/agent_heads.h"

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

// The terms of a step and their gradients, compared with those by autograd of `terms_of`.
void terms_equal_autograd(
    const StepPolicy& policy, const torch::Tensor& outputs, const torch::Tensor& old,
    const PolicyAction& action,
    const std::function<std::vector<torch::Tensor>(const torch::Tensor& outputs)>& terms_of) {
  const torch::Tensor leaf = outputs.clone().requires_grad_();
  const std::vector<torch::Tensor> expected = terms_of(leaf);
  const auto run = [&](const PolicyTerms& weights) {
    torch::Tensor gradient = torch::full_like(outputs, 0.5);  // it is added to
    policy.add_gradient(outputs.const_data_ptr<double>(), old.const_data_ptr<double>(), action,
                        weights, gradient.data_ptr<double>());
    return gradient - 0.5;
  };
  const PolicyTerms found =
      policy.terms(outputs.const_data_ptr<double>(), old.const_data_ptr<double>(), action);
  const std::vector<double> values = {found.log_prob, found.entropy, found.divergence};
  const std::vector<PolicyTerms> weights = {{.log_prob = 2}, {.entropy = -3}, {.divergence = 0.7}};
  const std::vector<double> scale = {2, -3, 0.7};
  for (size_t k = 0; k < 3; ++k) {
    EXPECT_NEAR(values[k], expected[k].item<double>(), 1e-12) << k;
    const torch::Tensor gradient =
        torch::autograd::grad({expected[k]}, {leaf}, {}, /*retain_graph=*/true)[0];
    EXPECT_TRUE(run(weights[k]).allclose(scale[k] * gradient, 1e-10, 1e-12)) << k;
  }
}

TEST(StepPolicyTest, TermsOfChoicesEqualAutograd) {
  const auto outputs = torch::tensor({0.3, -2.0, 1.5, 0.0}, torch::kDouble);
  const auto old = torch::tensor({0.1, -1.0, 1.0, 0.7}, torch::kDouble);
  for (int64_t choice = 0; choice < 4; ++choice) {
    terms_equal_autograd(*make_choice_head(3, 4)->step_policy(), outputs, old, {.choice = choice},
                         [&](const torch::Tensor& o) {
                           const auto now = o.log_softmax(0), before = old.log_softmax(0);
                           return std::vector<torch::Tensor>{now[choice], -(now.exp() * now).sum(),
                                                             (before.exp() * (before - now)).sum()};
                         });
  }
}

TEST(StepPolicyTest, TermsOfNumbersEqualAutograd) {
  const auto outputs = torch::tensor({1.0, -2.0, 0.25, -1.0}, torch::kDouble);
  const auto old = torch::tensor({0.8, -2.1, 0.5, -1.5}, torch::kDouble);
  const std::vector<double> numbers = {0.5, -1.75};
  const auto taken = torch::tensor(numbers, torch::kDouble);
  terms_equal_autograd(
      *make_number_head(3, 2)->step_policy(), outputs, old, {.numbers = numbers.data()},
      [&](const torch::Tensor& o) {
        const auto mean = o.slice(0, 0, 2), deviation = o.slice(0, 2).exp().log1p();
        const auto old_mean = old.slice(0, 0, 2), old_deviation = old.slice(0, 2).exp().log1p();
        const auto variance = deviation.square();
        return std::vector<torch::Tensor>{
            (-(taken - mean).square() / (2 * variance) - (2 * M_PI * variance).log() / 2).sum(),
            ((2 * M_PI * M_E * variance).log() / 2).sum(),
            ((deviation / old_deviation).log() - 0.5 +
             (old_deviation.square() + (old_mean - mean).square()) / (2 * variance))
                .sum()};
      });
}

TEST(AgentHeadsTest, EqualTheLinearLayersAndTheirGradients) {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    LstmOptions options;
    options.hidden_size = 13;
    Agent agent(nullptr, options.make(3), make_number_head(13, 2));
    agent.reset_parameters(1);
    agent.to(dtype);
    UnitInput input;
    input.x = torch::randn({5, 3, 3}, dtype);
    const torch::Tensor h = agent.forward_unit(input).y.detach().requires_grad_();
    const auto named = agent.named_parameters();
    const auto outputs = torch::linear(h, named["policy.weight"], named["policy.bias"]);
    const auto value = torch::linear(h, named["value.weight"], named["value.bias"]).squeeze(2);
    const torch::Tensor d_outputs = torch::randn({5, 3, 4}, torch::kDouble);
    const torch::Tensor d_value = torch::randn({5, 3}, torch::kDouble);
    const auto expected = torch::autograd::grad({outputs, value},
                                                {h, named["policy.weight"], named["policy.bias"],
                                                 named["value.weight"], named["value.bias"]},
                                                {d_outputs.to(dtype), d_value.to(dtype)});

    const AgentHeads heads(agent);
    const torch::Tensor own_outputs = torch::empty({5, 3, 4}, torch::kDouble);
    const torch::Tensor own_value = torch::empty({5, 3}, torch::kDouble);
    heads.forward(h, own_outputs, own_value);
    const double tolerance = dtype == torch::kFloat ? 1e-5 : 1e-12;
    EXPECT_TRUE(own_outputs.allclose(outputs.to(torch::kDouble), tolerance, tolerance));
    EXPECT_TRUE(own_value.allclose(value.to(torch::kDouble), tolerance, tolerance));
    const AgentHeads::Gradients own = heads.backward(h, d_outputs, d_value);
    EXPECT_TRUE(own.h.allclose(expected[0], tolerance, tolerance));
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(own.parameters[i].allclose(expected[i + 1], tolerance, tolerance)) << i;
    }
  }
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
