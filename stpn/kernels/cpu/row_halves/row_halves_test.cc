// The rows of one sample in halves: against the reference, with one thread and with two.
#include "stpn/kernels/cpu/row_halves/row_halves.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "stpn/base/parallel.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/random_call.h"
#include "stpn/kernels/testing.h"

namespace stpn::kernels::row_halves_test {
namespace {

using testing::expect_cpu_matches_reference;
using testing::RandomStpnCall;

// The second half has fewer rows, and the last tile and the last line of the cache are not full.
constexpr Extent kLong{36, 1, 80, 57};

// Both bodies on threads that are there when they begin, as those of a pool are.
void on_two_threads(int64_t count, const std::function<void(int64_t)>& body) {
  if (count != 2) return base::serial_for(count, body);
  std::atomic<int> ready{0};
  const auto run = [&](int64_t i) {
    ++ready;
    while (ready < 2) std::this_thread::yield();
    body(i);
  };
  std::thread second(run, 1);
  run(0);
  second.join();
}

TEST(RowHalvesPlanTest, LongSequencesOfOneSampleHaveThem) {
  const auto has = [](const Extent& e, const StpnVariant& v, Grouping g = Grouping::fastest) {
    return has_row_halves(e, v, *stpn_cpu_plan<float>(e, v, g));
  };
  const StpnVariant v;
  EXPECT_TRUE(has(kLong, v));
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

using RowHalvesTest = testing::TargetTest;

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

template <typename T>
void matches_reference() {
  using Given = typename RandomStpnCall<T>::GivenGradients;
  for (const StpnVariant& v : variants()) {
    for (const bool with_reset : {false, true}) {
      SCOPED_TRACE(
          fmt::format("norm {} clamp {} reset {}", static_cast<int>(v.norm), v.clamp, with_reset));
      RandomStpnCall<T> c(kLong, v, 3, with_reset);
      // Without a norm the activities would run away within so many steps.
      for (T& value : c["weight"]) value *= T(0.2);
      for (T& value : c["weight_gamma"]) value *= T(0.05);
      for (T& value : c["weight_lambda"]) value *= T(0.8);
      for (const Given given : {Given::no_energy, Given::output, Given::final_state, Given::all}) {
        c.given = given;
        expect_cpu_matches_reference(c);
      }
    }
  }
}

TEST_P(RowHalvesTest, MatchReferenceInDouble) { matches_reference<double>(); }
TEST_P(RowHalvesTest, MatchReferenceInFloat) { matches_reference<float>(); }

// One thread, two, and two tasks of which the second comes too late.
TEST_P(RowHalvesTest, BitsDoNotDependOnThreads) {
  const std::array<base::ParallelFor, 2> loops{on_two_threads, base::serial_for};
  for (const StpnVariant& v : variants()) {
    const RandomStpnCall<float> c(kLong, v, 5);
    const auto alone = c.cpu();
    for (const base::ParallelFor& loop : loops) {
      for (int again = 0; again < 10; ++again) {
        const auto together = c.cpu(&loop);
        EXPECT_EQ(alone.output, together.output);
        EXPECT_EQ(alone.energy, together.energy);
        EXPECT_EQ(alone.finals, together.finals);
        EXPECT_EQ(alone.gradients, together.gradients);
      }
    }
  }
}

TEST_P(RowHalvesTest, InputsMayNeedNoGradient) {
  const RandomStpnCall<double> c(kLong, StpnVariant(), 7);
  const auto backward = [](StpnBackwardParams<double> p) {
    p.grad_x = nullptr;
    stpn_backward_cpu(p);
  };
  const auto got = c.run(stpn_forward_cpu<double>, backward, true);
  const auto want = c.cpu();
  for (const auto& [name, gradient, row] : want.gradients) {
    if (name != "x") {
      EXPECT_EQ(got.gradient(name), gradient) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, RowHalvesTest, testing::all_targets(), testing::target_name);

// So many synapses that any two cores are near enough.
PlasticPlan<float> large() { return stpn_plan<float>({1000, 1, 80, 2000}, StpnVariant()); }

// Whoever comes, both halves are made once: each on a thread, or both on one.
TEST(RowHalvesMeetingTest, BothHalvesAreMadeOnce) {
  const PlasticPlan<float> plan = large();
  const base::ParallelFor two = on_two_threads, late = base::serial_for;
  const std::array<const base::ParallelFor*, 3> loops{&two, &late, nullptr};
  for (int round = 0; round < 300; ++round) {
    RowHalves<float> halves(plan, loops[round % 3]);
    std::array<std::atomic<int>, 4> shares{};
    halves.run([&] { ++shares[static_cast<size_t>(halves.join())]; });
    const auto made = [&](HalvesShare share) { return shares[static_cast<size_t>(share)].load(); };
    EXPECT_EQ(made(HalvesShare::first), made(HalvesShare::second));
    EXPECT_EQ(made(HalvesShare::first) + made(HalvesShare::both), 1);
  }
}

// At a meeting each half sees what the other has written before it.
TEST(RowHalvesMeetingTest, EachSeesTheSumsOfTheOther) {
  const PlasticPlan<float> plan = large();
  const base::ParallelFor loop = on_two_threads;
  int on_two = 0;
  for (int round = 0; round < 5000 && on_two < 50; ++round) {
    RowHalves<float> halves(plan, &loop);
    std::atomic<int> wrong{0};
    halves.run([&] {
      const HalvesShare share = halves.join();
      if (share == HalvesShare::both || share == HalvesShare::none) return;
      const int half = share == HalvesShare::second;
      for (int64_t t = 0; t < 200; ++t) {
        if (round % 2 == half && t % 50 == 0)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        halves.sums(t, half)[7] = static_cast<float>(2 * t + half);
        halves.meet(half);
        wrong += halves.sums(t, 1 - half)[7] != static_cast<float>(2 * t + 1 - half);
      }
      on_two += half;
    });
    EXPECT_EQ(wrong, 0);
  }
  if (on_two == 0) GTEST_SKIP() << "two threads have not run at the same time here";
}

TEST(RowHalvesMeetingTest, NobodyWaitsForAHalfThatFailed) {
  const PlasticPlan<float> plan = large();
  const base::ParallelFor loop = on_two_threads;
  for (int round = 0; round < 20; ++round) {
    RowHalves<float> halves(plan, &loop);
    halves.run([&] {
      const HalvesShare share = halves.join();
      if (share == HalvesShare::first) halves.leave(0);
      for (int t = 0; t < 100 && share == HalvesShare::second; ++t) halves.meet(1);
    });
  }
}

}  // namespace
}  // namespace stpn::kernels::row_halves_test
