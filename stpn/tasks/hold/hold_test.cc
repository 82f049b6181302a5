#include "stpn/tasks/hold/hold.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "stpn/base/testing.h"
#include "stpn/tasks/environment_contract.h"

namespace stpn::tasks::hold_test {
namespace {

TEST(Hold, KeepsTheContract) {
  HoldOptions options;
  contract::expect_environment_contract(options);
  options.longest = 2;
  contract::expect_environment_contract(options);
}

TEST(Hold, RewardsTheActionTimesTheSignThatWasShown) {
  const auto task = HoldOptions().make(3);
  const auto environment = task->make_environment();
  int truncated = 0, positive = 0;
  std::map<int, int> lengths;
  for (int64_t number = 0; number < 900; ++number) {
    float observation[3];
    environment->start(Split::training, number, observation);
    const float sign = observation[0];
    ASSERT_EQ(std::abs(sign), 1);
    Step step;
    int t = 0;
    for (; !step.ended(); ++t) {
      const float action = t == 1 ? 7.0f : 0.25f;  // 7 is clipped to 1
      step = environment->step({.numbers = &action}, observation);
      EXPECT_EQ(step.reward, sign * (t == 1 ? 1.0f : 0.25f));
      EXPECT_EQ(observation[0], 0);
    }
    EXPECT_NE(step.truncated, step.terminated);
    ++lengths[t];
    truncated += step.truncated;
    positive += sign == 1;
  }
  // Five standard deviations.
  EXPECT_NEAR(truncated, 450, 75);
  EXPECT_NEAR(positive, 450, 75);
  ASSERT_EQ(lengths.size(), 9u);
  for (const auto& [length, count] : lengths) EXPECT_NEAR(count, 100, 48) << length;
  EXPECT_EQ(lengths.begin()->first, 2);
}

TEST(Hold, RefusesImpossibleOptions) {
  HoldOptions options;
  options.longest = 1;
  base::testing::error_of([&] { options.make(1); });
}

}  // namespace
}  // namespace stpn::tasks::hold_test
