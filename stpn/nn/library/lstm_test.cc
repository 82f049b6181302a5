#include "stpn/nn/library/lstm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"

namespace stpn::nn::lstm_test {
namespace {

std::shared_ptr<Unit> make_lstm(int64_t inputs, int64_t hidden, bool normalised) {
  LstmOptions options;
  options.hidden_size = hidden;
  options.normalised = normalised;
  return options.make(inputs);
}

std::shared_ptr<Unit> make_plain(int64_t inputs, int64_t hidden) {
  return make_lstm(inputs, hidden, false);
}

std::shared_ptr<Unit> make_normalised(int64_t inputs, int64_t hidden) {
  return make_lstm(inputs, hidden, true);
}

INSTANTIATE_TEST_SUITE_P(
    Lstm, UnitContract,
    testing::Values(UnitCase{.name = "lstm", .make = make_plain, .same_bits = false},
                    UnitCase{
                        .name = "lstm_normalised", .make = make_normalised, .same_bits = false}),
    unit_case_name);

TEST(LstmTest, MatchesTheEquationsStepByStep) {
  torch::manual_seed(2);
  for (const bool normalised : {false, true}) {
    const auto unit = make_lstm(3, 2, normalised);
    unit->to(torch::kDouble);
    unit->reset_parameters(5);
    const auto named = unit->named_parameters();
    auto weight = torch::cat({named["weight_ih"], named["weight_hh"]}, 1);
    if (normalised) weight = weight / weight.square().sum(1, true).sqrt();
    const auto x = torch::randn({4, 2, 3}, torch::kDouble);
    auto h = torch::randn({2, 2}, torch::kDouble);
    auto c = torch::randn({2, 2}, torch::kDouble);
    const auto output = unit->forward({x, {{"h", h}, {"c", c}}, torch::Tensor(), true});
    for (int64_t t = 0; t < 4; ++t) {
      const auto z = torch::cat({x[t], h}, 1);
      const auto energy = z.square().matmul(weight.abs().t()).view({2, 4, 2}).sum(1);
      EXPECT_TRUE(output.energy[t].allclose(energy, 1e-12, 1e-12)) << normalised << t;
      const auto gates =
          (z.matmul(weight.t()) + named["bias_ih"] + named["bias_hh"]).split(2, /*dim=*/1);
      c = gates[1].sigmoid() * c + gates[0].sigmoid() * gates[2].tanh();
      h = gates[3].sigmoid() * c.tanh();
      EXPECT_TRUE(output.y[t].allclose(h, 1e-12, 1e-12)) << normalised << t;
    }
    EXPECT_TRUE(output.state[1].second.allclose(c, 1e-12, 1e-12));
  }
}

TEST(LstmTest, ParametersLieWithinTheirBound) {
  const auto unit = make_plain(7, 16);
  unit->reset_parameters(3);
  EXPECT_EQ(parameter_count(*unit), 4 * 16 * (7 + 16 + 2));
  for (const auto& item : unit->named_parameters()) {
    const double largest = item.value().abs().max().item<double>();
    EXPECT_LE(largest, 0.25) << item.key();
    EXPECT_GT(largest, 0.2) << item.key();
    EXPECT_LT(std::abs(item.value().mean().item<double>()), 0.06) << item.key();
  }
  EXPECT_FALSE(unit->named_parameters()["bias_ih"].equal(unit->named_parameters()["bias_hh"]));
}

TEST(LstmTest, OptionsRefuseNoUnits) {
  EXPECT_THROW(make_plain(3, 0), base::UserError);
  EXPECT_THROW(make_plain(0, 3), base::UserError);
  LstmOptions options;
  ASSERT_EQ(options.fields().size(), 2u);
  EXPECT_EQ(options.fields()[0].key, "hidden_size");
  EXPECT_EQ(options.fields()[0].range.least, 1);
  EXPECT_EQ(options.fields()[1].key, "normalised");
  EXPECT_FALSE(options.normalised);
}

}  // namespace
}  // namespace stpn::nn::lstm_test
