#include "stpn/train/algorithms/adam.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

// The columns [begin, end) of a matrix, as backward of a split makes them: not contiguous.
torch::Tensor columns(const torch::Tensor& matrix, int64_t begin, int64_t end) {
  return matrix.slice(1, begin, end);
}

TEST(AdamTest, FollowsItsEquations) {
  torch::manual_seed(1);
  const auto parameter = torch::randn({3, 2});
  torch::Tensor expected = parameter.to(torch::kDouble), mean = torch::zeros_like(expected),
                square = torch::zeros_like(expected);
  Adam adam({parameter}, 0.01, 1e-4);
  for (int t = 1; t <= 3; ++t) {
    const auto gradient = torch::randn({3, 2});
    set_gradients({parameter}, {gradient});
    adam.step();
    const auto g = gradient.to(torch::kDouble);
    mean = 0.9 * mean + 0.1 * g;
    square = 0.999 * square + 0.001 * g * g;
    expected = expected - 0.01 * (mean / (1 - std::pow(0.9, t))) /
                              ((square / (1 - std::pow(0.999, t))).sqrt() + 1e-4);
    EXPECT_TRUE(parameter.to(torch::kDouble).allclose(expected, 1e-5, 1e-7)) << t;
    EXPECT_FALSE(parameter.grad().defined()) << t;
  }
  EXPECT_EQ(adam.steps(), 3);
}

// libtorch's fused op reads a gradient's memory in the order of its bytes.
TEST(AdamTest, RefusesAGradientThatIsNotContiguous) {
  const auto parameter = torch::zeros({3, 2});
  Adam adam({parameter}, 0.01);
  set_gradients({parameter}, {columns(torch::ones({3, 5}), 1, 3)});
  EXPECT_THROW(adam.step(), base::UserError);
  EXPECT_EQ(parameter.abs().max().item<float>(), 0);
}

TEST(AdamTest, SumsOfShardsAreContiguous) {
  torch::manual_seed(2);
  const auto first = torch::randn({3, 5}), second = torch::randn({3, 5});
  std::vector<torch::Tensor> sum;
  add_gradients(sum, {columns(first, 0, 2), columns(first, 2, 5)});
  add_gradients(sum, {columns(second, 0, 2), columns(second, 2, 5)});
  for (const auto& gradient : sum) EXPECT_TRUE(gradient.is_contiguous());
  EXPECT_TRUE(torch::cat(sum, 1).equal(first + second));
}

}  // namespace
}  // namespace stpn::train
