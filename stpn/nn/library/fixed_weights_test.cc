#include <gtest/gtest.h>

#include "stpn/nn/library/normalised_rows.h"
#include "stpn/ops/energy.h"

namespace stpn::nn::fixed_weights_test {
namespace {

TEST(FixedWeightsTest, RowsHaveNormOneAndKeepTheirDirection) {
  const auto weight = torch::tensor({{3.0, -4.0}, {0.0, 1e-9}, {-2e5, 0.0}}, torch::kDouble);
  const auto expected = torch::tensor({{0.6, -0.8}, {0.0, 1.0}, {-1.0, 0.0}}, torch::kDouble);
  EXPECT_TRUE(normalised_rows(weight).allclose(expected, 0, 1e-6));
}

TEST(FixedWeightsTest, RowOfZerosStaysZeroAndHasNoNaNInItsGradient) {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    auto weight = torch::tensor({{0.0, 0.0, 0.0}, {1.0, 2.0, 3.0}}, dtype).requires_grad_();
    const auto rows = normalised_rows(weight);
    EXPECT_TRUE(rows[0].equal(torch::zeros({3}, dtype)));
    rows.sum().backward();
    EXPECT_TRUE(weight.grad().isfinite().all().item<bool>());
  }
}

TEST(FixedWeightsTest, GradientOfANormalisedRowIsAcrossIt) {
  torch::manual_seed(3);
  auto weight = torch::randn({4, 5}, torch::kDouble).requires_grad_();
  (normalised_rows(weight) * torch::randn({4, 5}, torch::kDouble)).sum().backward();
  EXPECT_GT(weight.grad().abs().min().item<double>(), 0);
  EXPECT_LT((weight.grad() * weight).sum(1).abs().max().item<double>(), 1e-12);
}

TEST(FixedWeightsTest, EnergyIsStrengthTimesSquareOfWhatIsMeasured) {
  const auto weight = torch::tensor({{1.0, -2.0, 3.0}, {0.0, 0.5, -1.0}}, torch::kDouble);
  const auto z = torch::tensor({2.0, -1.0, 3.0}, torch::kDouble).view({1, 1, 3}).requires_grad_();
  const auto all = ops::energy_of_fixed_weights(weight, z, torch::Tensor());
  EXPECT_TRUE(all.equal(torch::tensor({33.0, 9.5}, torch::kDouble).view({1, 1, 2})));
  const auto gradient = torch::autograd::grad({all.sum()}, {z})[0];
  EXPECT_TRUE(gradient.equal(2 * z * torch::tensor({1.0, 2.5, 4.0}, torch::kDouble)));

  // Of four the first three count.
  const auto measured = torch::tensor({1.0F, 0.0F, 1.0F, 0.0F});
  EXPECT_TRUE(ops::energy_of_fixed_weights(weight, z, measured)
                  .equal(torch::tensor({31.0, 9.0}, torch::kDouble).view({1, 1, 2})));
}

}  // namespace
}  // namespace stpn::nn::fixed_weights_test
