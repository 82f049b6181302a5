#include "stpn/nn/library/gru.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"

namespace stpn::nn::gru_test {
namespace {

std::shared_ptr<Unit> make_gru(int64_t inputs, int64_t hidden) {
  GruOptions options;
  options.hidden_size = hidden;
  return options.make(inputs);
}

INSTANTIATE_TEST_SUITE_P(Gru, UnitContract,
                         testing::Values(UnitCase{
                             .name = "gru", .make = make_gru, .same_bits = false}),
                         unit_case_name);

TEST(GruTest, MatchesTheEquationsStepByStep) {
  torch::manual_seed(2);
  const auto unit = make_gru(3, 2);
  unit->to(torch::kDouble);
  unit->reset_parameters(5);
  const auto named = unit->named_parameters();
  const auto x = torch::randn({4, 2, 3}, torch::kDouble);
  auto h = torch::randn({2, 2}, torch::kDouble);
  const auto output = unit->forward({x, {{"h", h}}, torch::Tensor(), true});
  const auto weight = torch::cat({named["weight_ih"], named["weight_hh"]}, 1);
  for (int64_t t = 0; t < 4; ++t) {
    const auto z = torch::cat({x[t], h}, 1);
    const auto energy = z.square().matmul(weight.abs().t()).view({2, 3, 2}).sum(1);
    EXPECT_TRUE(output.energy[t].allclose(energy, 1e-12, 1e-12)) << t;
    const auto from_x = (x[t].matmul(named["weight_ih"].t()) + named["bias_ih"]).split(2, 1);
    const auto from_h = (h.matmul(named["weight_hh"].t()) + named["bias_hh"]).split(2, 1);
    const auto r = (from_x[0] + from_h[0]).sigmoid();
    const auto u = (from_x[1] + from_h[1]).sigmoid();
    const auto n = (from_x[2] + r * from_h[2]).tanh();
    h = (1 - u) * n + u * h;
    EXPECT_TRUE(output.y[t].allclose(h, 1e-12, 1e-12)) << t;
  }
  EXPECT_TRUE(output.state[0].second.allclose(h, 1e-12, 1e-12));
}

TEST(GruTest, ParametersLieWithinTheirBound) {
  const auto unit = make_gru(7, 16);
  unit->reset_parameters(3);
  EXPECT_EQ(parameter_count(*unit), 3 * 16 * (7 + 16 + 2));
  for (const auto& item : unit->named_parameters()) {
    const double largest = item.value().abs().max().item<double>();
    EXPECT_LE(largest, 0.25) << item.key();
    EXPECT_GT(largest, 0.2) << item.key();
    EXPECT_LT(std::abs(item.value().mean().item<double>()), 0.06) << item.key();
  }
  EXPECT_FALSE(unit->named_parameters()["bias_ih"].equal(unit->named_parameters()["bias_hh"]));
}

TEST(GruTest, OptionsRefuseNoUnits) {
  EXPECT_THROW(make_gru(3, 0), base::UserError);
  EXPECT_THROW(make_gru(0, 3), base::UserError);
  GruOptions options;
  ASSERT_EQ(options.fields().size(), 1u);
  EXPECT_EQ(options.fields()[0].key, "hidden_size");
  EXPECT_EQ(options.fields()[0].range.least, 1);
}

}  // namespace
}  // namespace stpn::nn::gru_test
