#include "stpn/kernels/testing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace stpn::kernels::testing {
namespace {

TEST(DistanceTest, IsTheLargestDifferenceAsAPartOfTheLargestValue) {
  EXPECT_EQ(distance<double>({1, 5, -8}, {1, 4, -8}), 1.0 / 8);
  EXPECT_EQ(distance<double>({}, {}), 0);
}

TEST(DistanceTest, IsNaNIfAnyValueIs) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (size_t k = 0; k < 3; ++k) {
    std::vector<double> values{9, 2, 3};
    values[k] = nan;
    EXPECT_TRUE(std::isnan(distance(values, {1, 2, 3})));
    EXPECT_TRUE(std::isnan(distance({1, 2, 3}, values)));
  }
}

}  // namespace
}  // namespace stpn::kernels::testing
