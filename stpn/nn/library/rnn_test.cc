#include "stpn/nn/library/rnn.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"

namespace stpn::nn::rnn_test {
namespace {

std::shared_ptr<Unit> make_rnn(int64_t inputs, int64_t hidden, bool normalised) {
  RnnOptions options;
  options.hidden_size = hidden;
  options.normalised = normalised;
  return options.make(inputs);
}

std::shared_ptr<Unit> make_plain(int64_t inputs, int64_t hidden) {
  return make_rnn(inputs, hidden, false);
}

std::shared_ptr<Unit> make_normalised(int64_t inputs, int64_t hidden) {
  return make_rnn(inputs, hidden, true);
}

INSTANTIATE_TEST_SUITE_P(
    Rnn, UnitContract,
    testing::Values(UnitCase{.name = "rnn", .make = make_plain, .same_bits = false},
                    UnitCase{
                        .name = "rnn_normalised", .make = make_normalised, .same_bits = false}),
    unit_case_name);

TEST(RnnTest, MatchesTheEquationsStepByStep) {
  torch::manual_seed(2);
  for (const bool normalised : {false, true}) {
    const auto unit = make_rnn(3, 2, normalised);
    unit->to(torch::kDouble);
    unit->reset_parameters(5);
    const auto named = unit->named_parameters();
    auto weight = torch::cat({named["weight_ih"], named["weight_hh"]}, 1);
    if (normalised) weight = weight / weight.square().sum(1, true).sqrt();
    const auto x = torch::randn({4, 2, 3}, torch::kDouble);
    auto h = torch::randn({2, 2}, torch::kDouble);
    const auto output = unit->forward({x, {{"h", h}}, torch::Tensor(), true});
    for (int64_t t = 0; t < 4; ++t) {
      const auto z = torch::cat({x[t], h}, 1);
      const auto energy = z.square().matmul(weight.abs().t());
      EXPECT_TRUE(output.energy[t].allclose(energy, 1e-12, 1e-12)) << normalised << t;
      h = (z.matmul(weight.t()) + named["bias"]).tanh();
      EXPECT_TRUE(output.y[t].allclose(h, 1e-12, 1e-12)) << normalised << t;
    }
    EXPECT_TRUE(output.state[0].second.allclose(h, 1e-12, 1e-12));
  }
}

TEST(RnnTest, NormalisedRowsMayHaveAnyLength) {
  torch::manual_seed(2);
  const auto unit = make_normalised(3, 4);
  unit->reset_parameters(5);
  const auto x = torch::randn({5, 2, 3});
  const auto before = unit->forward({x, {}, {}}).y;
  torch::NoGradGuard no_grad;
  const auto named = unit->named_parameters();
  for (const std::string name : {"weight_ih", "weight_hh"}) named[name][1].mul_(7);
  EXPECT_TRUE(unit->forward({x, {}, {}}).y.allclose(before, 1e-5, 1e-6));
  named["bias"].mul_(7);
  EXPECT_FALSE(unit->forward({x, {}, {}}).y.allclose(before, 1e-2, 1e-2));
}

TEST(RnnTest, ParametersLieWithinTheirBound) {
  for (const bool normalised : {false, true}) {
    const auto unit = make_rnn(7, 16, normalised);
    unit->reset_parameters(3);
    EXPECT_EQ(parameter_count(*unit), 16 * (7 + 16 + 1));
    for (const auto& item : unit->named_parameters()) {
      const double largest = item.value().abs().max().item<double>();
      EXPECT_LE(largest, 0.25) << item.key();
      EXPECT_GT(largest, 0.2) << item.key();
      EXPECT_LT(std::abs(item.value().mean().item<double>()), 0.1) << item.key();
    }
  }
}

TEST(RnnTest, OptionsRefuseNoUnits) {
  EXPECT_THROW(make_plain(3, 0), base::UserError);
  EXPECT_THROW(make_plain(0, 3), base::UserError);
  RnnOptions options;
  ASSERT_EQ(options.fields().size(), 2u);
  EXPECT_EQ(options.fields()[0].key, "hidden_size");
  EXPECT_EQ(options.fields()[0].range.least, 1);
  EXPECT_EQ(options.fields()[1].key, "normalised");
  EXPECT_FALSE(options.normalised);
}

}  // namespace
}  // namespace stpn::nn::rnn_test
