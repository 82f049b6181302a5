#include "stpn/tasks/familiarity/familiarity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "stpn/base/error.h"
#include "stpn/tasks/sequence_task_contract.h"

namespace stpn::tasks::familiarity_test {
namespace {

FamiliarityOptions small(int64_t inputs, int64_t interval, int64_t length) {
  FamiliarityOptions options;
  options.inputs = inputs;
  options.interval = interval;
  options.length = length;
  options.training = options.validation = options.test = 10;
  return options;
}

TEST(Familiarity, KeepsTheContract) {
  contract::expect_sequence_task_contract(small(40, 3, 30));
  contract::expect_sequence_task_contract(small(7, 1, 9));
}

// If this test fails, results on this task cannot be compared with earlier ones.
TEST(Familiarity, StreamsNeverChange) {
  const contract::Batch batch = contract::read(*small(6, 2, 12).make(1), Split::training, 0, 1);
  std::string stream;
  for (int64_t t = 0; t < 12; ++t) {
    for (int64_t i = 0; i < 6; ++i) stream += batch.x[t * 6 + i] > 0 ? '+' : '-';
    stream += batch.target[t] == 1 ? "! " : " ";
  }
  EXPECT_EQ(
      stream,
      "++++-- ++--+- ++++--! ++--+-! -++--+ -++--- -+---- ++-++- -+----! --+++- ++--+- --+++-! ");
}

// By the rules alone: what a step shows follows from its target and the step R before, and no
// vector of 64 values is shown twice by chance.
TEST(Familiarity, RepeatsWhatWasNewAnIntervalBefore) {
  for (const int64_t R : {1, 3, 20}) {
    SCOPED_TRACE(R);
    constexpr int64_t I = 64, T = 400, B = 3;
    const contract::Batch batch = contract::read(*small(I, R, T).make(5), Split::test, 2, B);
    for (int64_t b = 0; b < B; ++b) {
      const auto row = [&](int64_t t) {
        const float* x = batch.x.data() + (t * B + b) * I;
        return std::vector<float>(x, x + I);
      };
      for (int64_t t = 0; t < T; ++t) {
        const bool repeats = batch.target[t * B + b] == 1;
        for (const float value : row(t)) ASSERT_EQ(std::abs(value), 1);
        if (repeats) {
          ASSERT_GE(t, R);
          ASSERT_EQ(batch.target[(t - R) * B + b], 0) << "a repeat of a repeat";
        }
        for (int64_t before = std::max<int64_t>(0, t - 2 * R); before < t; ++before) {
          const bool again = repeats && before == t - R;
          ASSERT_EQ(row(t) == row(before), again) << "steps " << before << " and " << t;
        }
      }
    }
  }
}

struct Counts {
  double repeats = 0, after_new = 0, repeats_after_new = 0, plus = 0;
};

Counts count(const FamiliarityOptions& options, int64_t streams) {
  const contract::Batch batch = contract::read(*options.make(3), Split::training, 0, streams);
  Counts counts;
  for (int64_t t = 0; t < options.length; ++t) {
    for (int64_t b = 0; b < streams; ++b) {
      const auto repeats = static_cast<double>(batch.target[t * streams + b]);
      counts.repeats += repeats;
      if (t < options.interval) continue;
      if (batch.target[(t - options.interval) * streams + b] == 1) continue;
      counts.after_new += 1;
      counts.repeats_after_new += repeats;
    }
  }
  for (const float value : batch.x) counts.plus += value > 0 ? 1 : 0;
  return counts;
}

TEST(Familiarity, RepeatsAreAsFrequentAsByHand) {
  FamiliarityOptions options = small(20, 3, 5000);
  const Counts counts = count(options, 10);
  constexpr double kSteps = 50'000;
  // Of n coins, within four standard deviations. P / (1 + P) is a third.
  EXPECT_NEAR(counts.repeats_after_new / counts.after_new, 0.5, 4 * std::sqrt(0.25 / 33'000));
  EXPECT_NEAR(counts.repeats / kSteps, 1.0 / 3, 4 * std::sqrt(2.0 / 9 / kSteps));
  EXPECT_NEAR(counts.plus / (20 * kSteps), 0.5, 4 * std::sqrt(0.25 / (20 * kSteps)));
  options.repeat = 0.25;
  EXPECT_NEAR(count(options, 10).repeats / kSteps, 0.2, 4 * std::sqrt(0.16 / kSteps));
  options.repeat = 0;
  EXPECT_EQ(count(options, 2).repeats, 0);
  options.repeat = 1;  // new and repeated vectors take turns, three at a time
  EXPECT_EQ(count(options, 2).repeats, 2 * 2499);
}

TEST(Familiarity, ChanceIsToSayAlwaysNew) {
  const auto chance = [](int64_t interval, int64_t length, double repeat) {
    FamiliarityOptions options = small(5, interval, length);
    options.repeat = repeat;
    const auto baselines = options.make(1)->baselines();
    EXPECT_EQ(baselines.size(), 1u);
    return baselines[0].value;
  };
  // Repeats: none in the first two steps, a half of the next two, a quarter of the fifth.
  EXPECT_DOUBLE_EQ(chance(2, 5, 0.5), 1 - (2 * 0.5 + 0.25) / 5);
  EXPECT_NEAR(chance(3, 5000, 0.5), 2.0 / 3, 3e-4);
  EXPECT_DOUBLE_EQ(chance(3, 12, 1), 0.5);
}

TEST(Familiarity, RejectsAStreamThatIsTooShort) {
  EXPECT_THROW(small(5, 10, 10).make(1), base::UserError);
  EXPECT_NO_THROW(small(5, 9, 10).make(1));
  EXPECT_EQ(small(5, 3, 10).make(1)->at_difficulty(10), nullptr);
  EXPECT_EQ(small(5, 3, 10).make(1)->at_difficulty(0), nullptr);
}

}  // namespace
}  // namespace stpn::tasks::familiarity_test
