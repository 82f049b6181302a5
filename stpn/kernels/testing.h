// For tests that hold a CPU kernel to its reference.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "stpn/base/parallel.h"

namespace stpn::kernels::testing {

// Largest difference, as a part of the largest value; NaN if there is one.
template <typename T>
double distance(const std::vector<T>& got, const std::vector<T>& want) {
  double worst = 0;
  double scale = 1e-30;
  for (size_t k = 0; k < want.size(); ++k) {
    const double difference = std::abs(static_cast<double>(got[k]) - static_cast<double>(want[k]));
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
    scale = std::max(scale, std::abs(static_cast<double>(want[k])));
  }
  return worst / scale;
}

// Rounding grows with the steps; these hold with a margin of about ten for tens of steps.
template <typename T>
constexpr double kTolerance = sizeof(T) == 4 ? 2e-4 : 1e-11;

// A thread for each piece, the last first.
inline void a_thread_each(int64_t count, const std::function<void(int64_t)>& body) {
  std::vector<std::thread> pool;
  for (int64_t i = count - 1; i >= 0; --i) pool.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : pool) thread.join();
}

// Runs each test on one SIMD target after the other:
//   using LeakyCpuTest = TargetTest;
//   INSTANTIATE_TEST_SUITE_P(Targets, LeakyCpuTest, all_targets(), target_name);
class TargetTest : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { choose(GetParam()); }
  void TearDown() override { choose(0); }

 private:
  // 0: whatever the machine has.
  static void choose(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// Those that are compiled and that this machine runs.
inline auto all_targets() { return ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()); }
inline std::string target_name(const ::testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace stpn::kernels::testing
