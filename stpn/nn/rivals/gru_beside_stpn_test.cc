#include "stpn/nn/rivals/gru_beside_stpn.h"

#include <gtest/gtest.h>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"

namespace stpn::nn::gru_beside_stpn_test {
namespace {

GruBesideStpnOptions options_of(int64_t gru, int64_t plastic) {
  GruBesideStpnOptions options;
  options.gru_size = gru;
  options.hidden_size = gru + plastic;
  return options;
}

UnitCase make_case() {
  UnitCase result;
  result.name = "gru_beside_stpn";
  result.make = [](int64_t inputs, int64_t hidden) {
    return options_of(hidden / 2, hidden - hidden / 2).make(inputs);
  };
  result.least_hidden = 2;
  result.coupled = false;
  result.same_bits = false;  // those of the GRU
  return result;
}

INSTANTIATE_TEST_SUITE_P(GruBesideStpn, UnitContract, testing::Values(make_case()), unit_case_name);

TEST(GruBesideStpnTest, IsTheTwoUnitsByThemselves) {
  torch::manual_seed(1);
  auto options = options_of(3, 5);
  options.norm = "none";
  const auto unit = options.make(4);
  unit->reset_parameters(7);
  EXPECT_EQ(unit->hidden_size(), 8);
  GruOptions of_gru;
  of_gru.hidden_size = 3;
  StpnRecurrentOptions of_stpn;
  of_stpn.hidden_size = 5;
  of_stpn.norm = "none";
  const auto gru = of_gru.make(4), stpn = of_stpn.make(4);
  const torch::NoGradGuard no_grad;
  const auto named = unit->named_parameters();
  for (auto& item : gru->named_parameters()) item.value().copy_(named["gru." + item.key()]);
  for (auto& item : stpn->named_parameters()) item.value().copy_(named["stpn." + item.key()]);
  EXPECT_EQ(parameter_count(*unit), parameter_count(*gru) + parameter_count(*stpn));

  const auto x = torch::randn({6, 2, 4});
  const auto reset = torch::rand({6, 2}) < 0.3;
  const auto output = unit->forward({x, {}, reset, true});
  const auto first = gru->forward({x, {}, reset, true});
  const auto second = stpn->forward({x, {}, reset, true});
  EXPECT_TRUE(output.y.equal(torch::cat({first.y, second.y}, 2)));
  EXPECT_TRUE(output.energy.equal(torch::cat({first.energy, second.energy}, 2)));
  ASSERT_EQ(output.state.size(), 3u);
  EXPECT_EQ(output.state[0].first, "gru_h");
  EXPECT_EQ(output.state[1].first, "stpn_h");
  EXPECT_EQ(output.state[2].first, "stpn_F");
  EXPECT_TRUE(output.state[0].second.equal(first.state[0].second));
  EXPECT_TRUE(output.state[2].second.equal(second.state[1].second));
}

TEST(GruBesideStpnTest, TheTwoBeginWithDifferentWeights) {
  const auto unit = options_of(4, 4).make(3);
  unit->reset_parameters(7);
  const auto named = unit->named_parameters();
  EXPECT_FALSE(named["gru.bias_ih"].slice(0, 0, 4).equal(named["stpn.bias"]));
  EXPECT_FALSE(named["gru.weight_ih"].slice(0, 0, 3).equal(
      named["stpn.weight"].slice(0, 0, 3).slice(1, 0, 3)));
}

TEST(GruBesideStpnTest, RefusesAUnitWithoutNeurons) {
  EXPECT_THROW(options_of(0, 3).make(2), base::UserError);
  EXPECT_THROW(options_of(3, 0).make(2), base::UserError);
  EXPECT_THROW(options_of(-1, 3).make(2), base::UserError);
}

// Its options are the STPN's, and what they keep in bounds stays there.
TEST(GruBesideStpnTest, PassesOptionsAndBoundsOn) {
  auto options = options_of(2, 3);
  EXPECT_EQ(options.fields().size(), StpnRecurrentOptions().fields().size() + 1);
  options.bounded_lambda = true;
  options.initialisation = "normal";
  const auto unit = options.make(2);
  EXPECT_EQ(unit->initialisation(), Initialisation::normal);
  const torch::NoGradGuard no_grad;
  const auto lambda = unit->named_parameters()["stpn.weight_lambda"];
  lambda.fill_(1.5);
  unit->keep_in_bounds();
  EXPECT_EQ(lambda.max().item<float>(), 1);
}

}  // namespace
}  // namespace stpn::nn::gru_beside_stpn_test
