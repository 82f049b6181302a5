// Checks the reference's gradients against finite differences, and the CPU kernel against the
// reference, on every SIMD target that this machine supports.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/kernels/classifier_loss/equations.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::classifier_loss_test {
namespace {

// Relative to the largest value of an array, or to 1 if that is less: what a row adds is the
// difference of two numbers up to 1, and may be much smaller.
template <typename T>
constexpr double kCloseTo = sizeof(T) == 4 ? 1e-5 : 1e-13;

// Every third row or so has no target.
template <typename T>
struct Call {
  Call(int64_t its_rows, int64_t its_hidden, int64_t its_classes, uint64_t seed)
      : rows(its_rows), hidden(its_hidden), classes(its_classes) {
    base::Random random(seed, base::Stream::parameters, 0);
    const auto fill = [&](int64_t count, std::vector<T>& values) {
      for (int64_t k = 0; k < count; ++k) {
        values.push_back(static_cast<T>(static_cast<float>(random.uniform(-1, 1))));
      }
    };
    fill(rows * hidden, y);
    fill(classes * hidden, weight);
    fill(classes, bias);
    const auto answers = static_cast<double>(std::max<int64_t>(classes, 2));
    for (int64_t n = 0; n < rows; ++n) {
      const bool asked = random.uniform(0, 1) > 0.3;
      target.push_back(asked ? static_cast<int64_t>(random.uniform(0, answers)) : -1);
    }
  }

  int64_t rows, hidden, classes;
  std::vector<T> y, weight, bias;
  std::vector<int64_t> target;
};

template <typename T>
struct Result {
  double loss;
  std::vector<T> y, weight, bias;  // gradients
};

template <typename T>
Result<T> run(const Call<T>& call, bool reference) {
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  Result<T> result{0, std::vector<T>(call.y.size(), kNaN), std::vector<T>(call.weight.size(), kNaN),
                   std::vector<T>(call.bias.size(), kNaN)};
  const ClassifierLossParams<T> p{.rows = call.rows,
                                  .hidden = call.hidden,
                                  .classes = call.classes,
                                  .scale = 0.25,
                                  .y = call.y.data(),
                                  .weight = call.weight.data(),
                                  .bias = call.bias.data(),
                                  .target = call.target.data(),
                                  .grad_y = result.y.data(),
                                  .grad_weight = result.weight.data(),
                                  .grad_bias = result.bias.data()};
  result.loss = reference ? classifier_loss_ref(p) : classifier_loss_cpu(p);
  return result;
}

// By hand: logits of 1 and 3 and of -1 and 1, both with the loss of a difference of 2.
TEST(ClassifierLossRefTest, TwoClassesAreTheEquations) {
  Call<double> call(3, 1, 2, 1);
  call.y = {1, 100, -1};
  call.weight = {1, 1};
  call.bias = {0, 2};
  call.target = {1, -1, 0};
  const Result<double> result = run(call, true);
  const double unlikely = 1 / (1 + std::exp(2));
  EXPECT_NEAR(result.loss, -std::log(1 - unlikely) - std::log(unlikely), 1e-12);
  // d is (unlikely, -unlikely) and (unlikely - 1, 1 - unlikely).
  EXPECT_NEAR(result.bias[0], 0.25 * (2 * unlikely - 1), 1e-12);
  EXPECT_NEAR(result.weight[0], 0.25 * (unlikely - (unlikely - 1)), 1e-12);
  for (const double gradient : result.y) EXPECT_NEAR(gradient, 0, 1e-12);
}

TEST(ClassifierLossRefTest, GradientMatchesFiniteDifference) {
  for (const int64_t classes : {1, 2, 5}) {
    SCOPED_TRACE(classes);
    Call<double> call(6, 3, classes, 4);
    const Result<double> result = run(call, true);
    const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
      for (size_t k = 0; k < values.size(); ++k) {
        const double at = values[k];
        constexpr double kStep = 1e-6;
        values[k] = at + kStep;
        const double above = run(call, true).loss;
        values[k] = at - kStep;
        const double below = run(call, true).loss;
        values[k] = at;
        ASSERT_NEAR(gradient[k], 0.25 * (above - below) / (2 * kStep), 1e-8);
      }
    };
    check(call.y, result.y);
    check(call.weight, result.weight);
    check(call.bias, result.bias);
  }
}

using ClassifierLossCpuTest = testing::TargetTest;

template <typename T>
void cpu_matches_reference() {
  for (const int64_t classes : {1, 2, 15, 16, 17, 37, 120}) {
    for (const int64_t hidden : {1, 11, 32, 45}) {
      for (const int64_t rows : {0, 1, 4, 5, 128}) {
        SCOPED_TRACE(fmt::format("{} rows, H={}, {} classes", rows, hidden, classes));
        const Result<T> got = run(Call<T>(rows, hidden, classes, 1), false);
        const Result<double> want = run(Call<double>(rows, hidden, classes, 1), true);
        const auto check = [](const std::vector<T>& values, const std::vector<double>& wanted) {
          const testing::Extremes all(
              values.data(), std::vector<T>(wanted.begin(), wanted.end()).data(), wanted.size());
          EXPECT_LE(all.difference, kCloseTo<T> * std::max(1.0, all.largest));
        };
        EXPECT_NEAR(got.loss, want.loss, kCloseTo<T> * (1 + want.loss));
        check(got.y, want.y);
        check(got.weight, want.weight);
        check(got.bias, want.bias);
      }
    }
  }
}

TEST_P(ClassifierLossCpuTest, MatchesReferenceInFloat) { cpu_matches_reference<float>(); }
TEST_P(ClassifierLossCpuTest, MatchesReferenceInDouble) { cpu_matches_reference<double>(); }

TEST_P(ClassifierLossCpuTest, LargeLogitsGiveFiniteLosses) {
  for (const int64_t classes : {1, 2, 20}) {
    SCOPED_TRACE(classes);
    Call<float> call(8, 2, classes, 1);
    for (float& weight : call.weight) weight *= 1e30f;
    call.target.assign(8, 1);
    for (const bool reference : {false, true}) {
      const Result<float> result = run(call, reference);
      EXPECT_TRUE(std::isfinite(result.loss));
      for (const float gradient : result.bias) EXPECT_TRUE(std::isfinite(gradient));
    }
  }
}

// Also what no target says is not hidden: all classes share the sum.
TEST_P(ClassifierLossCpuTest, NaNIsPassedOn) {
  for (const int64_t classes : {1, 3, 40}) {
    for (const bool reference : {false, true}) {
      Call<float> call(4, 3, classes, 1);
      call.target.assign(4, 0);
      call.weight.back() = std::numeric_limits<float>::quiet_NaN();
      const Result<float> result = run(call, reference);
      EXPECT_TRUE(std::isnan(result.loss)) << classes;
      EXPECT_TRUE(std::isnan(result.bias[0])) << classes;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, ClassifierLossCpuTest, testing::all_targets(),
                         testing::target_name);

}  // namespace
}  // namespace stpn::kernels::classifier_loss_test
