#include "stpn/nn/models/actor_critic.h"

#include <gtest/gtest.h>

#include "stpn/nn/library/lstm.h"

namespace stpn::nn::actor_critic_test {
namespace {

ActorCritic make_actor_critic() {
  LstmOptions options;
  options.hidden_size = 16;
  ActorCritic model(options.make(3), 4);
  model.reset_parameters(1);
  return model;
}

TEST(ActorCriticTest, HeadsAreOfEveryStep) {
  auto model = make_actor_critic();
  UnitInput input;
  input.x = torch::randn({6, 2, 3});
  const auto output = model.forward(input);
  const auto y = model.unit().forward(input).y;
  const auto named = model.named_parameters();
  EXPECT_TRUE(output.logits.allclose(y.matmul(named["policy.weight"].t()) + named["policy.bias"]));
  EXPECT_TRUE(output.value.allclose(y.matmul(named["value.weight"][0]) + named["value.bias"]));
  EXPECT_EQ(output.logits.sizes(), torch::IntArrayRef({6, 2, 4}));
  EXPECT_EQ(output.value.sizes(), torch::IntArrayRef({6, 2}));
  EXPECT_FALSE(output.energy.defined());
}

TEST(ActorCriticTest, EnergyIsTheUnitsAndNotTheHeads) {
  auto model = make_actor_critic();
  UnitInput input;
  input.x = torch::randn({6, 2, 3});
  input.energy = true;
  EXPECT_TRUE(model.forward(input).energy.equal(model.unit().forward(input).energy));
}

TEST(ActorCriticTest, HeadsLieWithinTheirBoundAndDependOnTheSeed) {
  auto model = make_actor_critic();
  const auto before = model.policy_weight().detach().clone();
  for (const char* name : {"policy.weight", "policy.bias", "value.weight", "value.bias"}) {
    const auto parameter = model.named_parameters()[name];
    EXPECT_LE(parameter.abs().max().item<double>(), 0.25) << name;
    EXPECT_GT(parameter.abs().max().item<double>(), 0.01) << name;
  }
  EXPECT_EQ(parameter_count(model), 4 * 16 * (3 + 16 + 2) + 4 * (16 + 1) + 16 + 1);
  model.reset_parameters(2);
  EXPECT_FALSE(model.policy_weight().equal(before));
}

}  // namespace
}  // namespace stpn::nn::actor_critic_test
