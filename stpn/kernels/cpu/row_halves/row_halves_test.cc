// The meeting of two halves of rows, on one thread and on two.
#include "stpn/kernels/cpu/row_halves/row_halves.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "stpn/base/parallel.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cpu/row_halves/testing.h"

namespace stpn::kernels::row_halves_test {
namespace {

using testing::on_two_threads;

// So many synapses that any two cores are near enough, of which one takes a nanosecond.
PlasticPlan<float> large() {
  return PlasticPlan<float>({.grouping = Grouping::fastest,
                             .steps = 1000,
                             .batch = 1,
                             .hidden = 2000,
                             .fan_in = 2080,
                             .matrices = 1});
}

// Whoever comes, both halves are made once: each on a thread, or both on one.
TEST(RowHalvesMeetingTest, BothHalvesAreMadeOnce) {
  const PlasticPlan<float> plan = large();
  const base::ParallelFor two = on_two_threads, late = base::serial_for;
  const std::array<const base::ParallelFor*, 3> loops{&two, &late, nullptr};
  for (int round = 0; round < 300; ++round) {
    RowHalves<float> halves(plan, loops[round % 3], 1);
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
    RowHalves<float> halves(plan, &loop, 1);
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
      if (half == 1) ++on_two;
    });
    EXPECT_EQ(wrong, 0);
  }
  if (on_two == 0) GTEST_SKIP() << "two threads have not run at the same time here";
}

// Where a thread handles more than that in a nanosecond, no meeting is short enough.
TEST(RowHalvesMeetingTest, WhatTakesLongerThanItSavesIsLeftToOneThread) {
  const PlasticPlan<float> plan = large();
  const base::ParallelFor loop = on_two_threads;
  for (int round = 0; round < 20; ++round) {
    RowHalves<float> halves(plan, &loop, plan.hidden * plan.fan_in);
    std::array<std::atomic<int>, 4> shares{};
    halves.run([&] { ++shares[static_cast<size_t>(halves.join())]; });
    EXPECT_EQ(shares[static_cast<size_t>(HalvesShare::both)], 1);
    EXPECT_EQ(shares[static_cast<size_t>(HalvesShare::none)], 1);
  }
}

TEST(RowHalvesMeetingTest, NobodyWaitsForAHalfThatFailed) {
  const PlasticPlan<float> plan = large();
  const base::ParallelFor loop = on_two_threads;
  for (int round = 0; round < 20; ++round) {
    RowHalves<float> halves(plan, &loop, 1);
    halves.run([&] {
      const HalvesShare share = halves.join();
      if (share == HalvesShare::first) halves.leave(0);
      for (int t = 0; t < 100 && share == HalvesShare::second; ++t) halves.meet(1);
    });
  }
}

}  // namespace
}  // namespace stpn::kernels::row_halves_test
