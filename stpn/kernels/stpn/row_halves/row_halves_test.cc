// The rows of one sample in halves: against the reference, with one thread and with two.
#include "stpn/kernels/stpn/row_halves/row_halves.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "stpn/base/parallel.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/row_halves/testing.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::stpn_row_halves_test {
namespace {

using testing::expect_cpu_matches_reference;
using testing::expect_x_may_need_no_gradient;
using testing::on_two_threads;
using testing::RandomStpnCall;

// The second half has fewer rows, and the last tile and the last line of the cache are not full.
constexpr Extent kLong{36, 1, 80, 57};
// With so much to do that the first thread waits for the second a while, and cores that are far
// apart are worth it.
constexpr Extent kLarge{100, 1, 120, 128};

TEST(StpnRowHalvesPlanTest, LongSequencesOfOneSampleHaveThem) {
  const auto has = [](const Extent& e, const StpnVariant& v, Grouping g = Grouping::fastest) {
    return has_row_halves(e, v, *stpn_cpu_plan<float>(e, v, g));
  };
  const StpnVariant v;
  EXPECT_TRUE(has(kLong, v));
  EXPECT_TRUE(has(kLarge, v));
  EXPECT_TRUE(has({5000, 1, 100, 27}, v));
  EXPECT_FALSE(has({20, 1, 80, 57}, v));
  EXPECT_FALSE(has({36, 2, 80, 57}, v));
  EXPECT_FALSE(has({5000, 1, 100, 16}, v));
  EXPECT_FALSE(has({5000, 1, 9, 20}, v));
  // Two steps in a sweep.
  EXPECT_FALSE(has({36, 1, 2592, 64}, v));
  // The bits of a sample must not depend on how many there are.
  EXPECT_FALSE(has(kLong, v, Grouping::single_samples));
  std::vector<StpnVariant> coupled(6);
  coupled[0].rule = Rule::oja;
  coupled[1].layer_norm = true;
  coupled[2].plastic_bias = true;
  coupled[3].recurrent = false;
  coupled[4].presynaptic = Presynaptic::current;
  coupled[5].update_gate = true;
  for (const StpnVariant& other : coupled) EXPECT_FALSE(has(kLong, other));
}

using StpnRowHalvesTest = testing::TargetTest;

std::vector<StpnVariant> variants() {
  std::vector<StpnVariant> all(7);
  all[0].norm = Norm::none;
  all[1].norm = Norm::preactivation;
  all[2].norm = Norm::pre;
  all[3].norm = Norm::post;
  all[3].clamp = 0.3;
  all[4].clamp = 0.2;
  all[4].decay = Decay::after_update;
  all[5].connections = Connections::input;
  all[6].connections = Connections::recurrent;
  all[6].rates = Rates::scalar;
  return all;
}

// Without a norm the activities would run away within so many steps.
template <typename T>
void tame(RandomStpnCall<T>& c) {
  for (T& value : c["weight"]) value *= T(0.2);
  for (T& value : c["weight_gamma"]) value *= T(0.05);
  for (T& value : c["weight_lambda"]) value *= T(0.8);
}

template <typename T>
void matches_reference() {
  using Given = typename RandomStpnCall<T>::GivenGradients;
  for (const StpnVariant& v : variants()) {
    for (const bool with_reset : {false, true}) {
      SCOPED_TRACE(
          fmt::format("norm {} clamp {} reset {}", static_cast<int>(v.norm), v.clamp, with_reset));
      RandomStpnCall<T> c(kLong, v, 3, with_reset);
      tame(c);
      for (const Given given : {Given::no_energy, Given::output, Given::final_state, Given::all}) {
        c.given = given;
        expect_cpu_matches_reference(c);
      }
    }
  }
}

TEST_P(StpnRowHalvesTest, MatchReferenceInDouble) { matches_reference<double>(); }
TEST_P(StpnRowHalvesTest, MatchReferenceInFloat) { matches_reference<float>(); }

// One thread, two, and two tasks of which the second comes too late.
template <typename T>
void bits_do_not_depend_on_threads() {
  const std::array<base::ParallelFor, 2> loops{on_two_threads, base::serial_for};
  for (const StpnVariant& v : variants()) {
    RandomStpnCall<T> c(kLarge, v, 5);
    tame(c);
    const auto alone = c.cpu();
    for (const base::ParallelFor& loop : loops) {
      for (int again = 0; again < 3; ++again) {
        const auto together = c.cpu(&loop);
        EXPECT_EQ(alone.output, together.output);
        EXPECT_EQ(alone.energy, together.energy);
        EXPECT_EQ(alone.finals, together.finals);
        EXPECT_EQ(alone.gradients, together.gradients);
      }
    }
  }
}

TEST_P(StpnRowHalvesTest, BitsDoNotDependOnThreadsInDouble) {
  bits_do_not_depend_on_threads<double>();
}
TEST_P(StpnRowHalvesTest, BitsDoNotDependOnThreadsInFloat) {
  bits_do_not_depend_on_threads<float>();
}

TEST_P(StpnRowHalvesTest, InputsMayNeedNoGradient) {
  expect_x_may_need_no_gradient(RandomStpnCall<double>(kLong, StpnVariant(), 7));
}

TEST_P(StpnRowHalvesTest, StateMayBeAbsent) {
  testing::expect_no_state_is_zeros(RandomStpnCall<double>(kLong, StpnVariant(), 7));
}

INSTANTIATE_TEST_SUITE_P(Targets, StpnRowHalvesTest, testing::all_targets(), testing::target_name);

}  // namespace
}  // namespace stpn::kernels::stpn_row_halves_test
