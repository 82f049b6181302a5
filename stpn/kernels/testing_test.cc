#include "stpn/kernels/testing.h"

#include <gtest/gtest-spi.h>
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

TEST(RowDistanceTest, IsRelativeToEachRowAndAFloor) {
  EXPECT_EQ(row_distance<double>({4, 8, 1, 3}, {4, 8, 1, 2}, 2), 1 / (2 + kRowFloor * 8));
  EXPECT_EQ(row_distance<double>({8, 1}, {8, 0}, 1), 1 / (kRowFloor * 8));
  EXPECT_EQ(row_distance<double>({0, 0}, {0, 0}, 1), 0);
  EXPECT_EQ(row_distance<double>({}, {}, 3), 0);
}

TEST(RowDistanceTest, IsNaNIfAnyValueIs) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (size_t k = 0; k < 4; ++k) {
    std::vector<double> values{9, 2, 3, 4};
    values[k] = nan;
    EXPECT_TRUE(std::isnan(row_distance(values, {1, 2, 3, 4}, 2)));
    EXPECT_TRUE(std::isnan(row_distance({1, 2, 3, 4}, values, 2)));
  }
}

// Rows of small values beside rows of large ones, as gradients of a neuron that hardly acts.
template <typename T>
void a_wrong_small_row_is_seen(T small) {
  const std::vector<T> want{100, -50, 25, small, -small, small / 2, 80, 40, -20};
  std::vector<T> got = want;
  expect_close(got, want, 3, "the same");
  for (T& value : got) value *= 1 + static_cast<T>(kTolerance<T>) / 4;
  expect_close(got, want, 3, "rounding");
  got[3] = -small;  // a sign is wrong
  EXPECT_LE(distance(got, want), kTolerance<T>) << "the whole array hides it";
  EXPECT_GT(row_distance(got, want, 3), kRowTolerance<T>);
}

TEST(ExpectCloseTest, SeesAWrongSmallRowBesideLargeOnes) {
  a_wrong_small_row_is_seen<float>(5e-3f);
  a_wrong_small_row_is_seen<double>(1e-10);
  static std::vector<float> want{100, 5e-3f};
  static std::vector<float> got{100, -5e-3f};
  EXPECT_NONFATAL_FAILURE(expect_close(got, want, 1, "gradient of x"), "a row of gradient of x");
}

TEST(ExpectCloseTest, SeesArraysOfAnotherSize) {
  static const std::vector<double> three{1, 2, 3};
  EXPECT_FATAL_FAILURE(expect_close<double>({1, 2}, three, 1, "x"), "x");
  EXPECT_FATAL_FAILURE(expect_close<double>({1, 2, 3}, three, 2, "x"), "no such rows");
}

}  // namespace
}  // namespace stpn::kernels::testing
