// For tests that compare a CPU kernel with its reference.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "stpn/base/parallel.h"
#include "stpn/kernels/saved_bound.h"

namespace stpn::kernels::testing {

// Tolerances of a CPU kernel against its reference, for tens of time steps, through which rounding
// grows. Each is relative; measured on AVX2 over all random calls of the tests.
//
// The largest difference in an array, relative to its largest value: at most 1e-4 in float and
// 2e-12 in double were measured.
template <typename T>
constexpr double kTolerance = sizeof(T) == 4 ? 2e-4 : 1e-11;

// The largest difference in a row, relative to the row's largest value and kRowFloor times the
// array's: at most 1.2e-3 in float and 5e-11 in double were measured, in gradients that are zero
// but for rounding, such as that of h through the layer norm of two neurons.
template <typename T>
constexpr double kRowTolerance = sizeof(T) == 4 ? 1e-2 : 5e-10;

// Where large terms cancel, a row is small but its rounding errors are not. In float a row of zeros
// may be off by 1e-5 of the array's largest value, which is 80 rounding errors of 1.2e-7.
constexpr double kRowFloor = 1e-3;

// The largest magnitude in an array and the largest difference; NaN if there is one.
struct Extremes {
  template <typename T>
  Extremes(const T* got, const T* want, size_t count) {
    for (size_t k = 0; k < count; ++k) {
      const double expected = static_cast<double>(want[k]);
      const double off = std::abs(static_cast<double>(got[k]) - expected);
      // Comparisons with NaN are false, so a NaN needs a test of its own.
      if (std::isnan(off) || off > difference) difference = off;
      if (std::isnan(off)) return;
      largest = std::max(largest, std::abs(expected));
    }
  }
  double largest = 0, difference = 0;
};

constexpr double kNoScale = 1e-30;  // stands for the largest value of an array of zeros

// The largest difference relative to the largest value; NaN if there is one.
template <typename T>
double distance(const std::vector<T>& got, const std::vector<T>& want) {
  const Extremes all(got.data(), want.data(), want.size());
  return all.difference / std::max(all.largest, kNoScale);
}

// The largest distance of a row, as kRowTolerance has it, of an array (..., row_length), so that a
// wrong row of small values is seen beside rows of large ones; NaN if there is one.
template <typename T>
double row_distance(const std::vector<T>& got, const std::vector<T>& want, int64_t row_length) {
  const auto count = static_cast<size_t>(row_length);
  const double floor =
      std::max(kRowFloor * Extremes(got.data(), want.data(), want.size()).largest, kNoScale);
  double worst = 0;
  for (size_t first = 0; first + count <= want.size() && count > 0; first += count) {
    const Extremes row(got.data() + first, want.data() + first, count);
    const double distance = row.difference / (row.largest + floor);
    if (std::isnan(distance)) return distance;
    worst = std::max(worst, distance);
  }
  return worst;
}

// `got` is `want`, an array (..., row_length), within both tolerances. `what` names it.
template <typename T>
void expect_close(const std::vector<T>& got, const std::vector<T>& want, int64_t row_length,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  if (want.empty()) return;
  ASSERT_GT(row_length, 0) << what;
  ASSERT_EQ(want.size() % static_cast<size_t>(row_length), 0u) << what << " has no such rows";
  EXPECT_LE(distance(got, want), kTolerance<T>) << what;
  EXPECT_LE(row_distance(got, want, row_length), kRowTolerance<T>) << "a row of " << what;
}

// No call of the variant saves more for backward than the bound, which sizes the buffers of traced
// graphs. `make_plan` is the unit's cpu_plan.
template <typename Variant, typename MakePlan>
void expect_saved_is_bounded(const Variant& variant, const MakePlan& make_plan) {
  for (const Grouping grouping : {Grouping::fastest, Grouping::single_samples}) {
    for (const int64_t hidden : {1, 4, 60, 300}) {
      SavedBound bound;
      for (const int64_t batch : kBatchesToBound) {
        bound.widen(saved_bound(*make_plan({kStepsToBound, batch, 9, hidden}, variant, grouping)));
      }
      for (const int64_t steps : {1, 3, 4, 19, 20, 21, 64, 65, 200}) {
        for (int64_t batch = 1; batch <= 70; ++batch) {
          const auto plan = make_plan({steps, batch, 9, hidden}, variant, grouping);
          EXPECT_GE(batch * (steps * bound.per_step +
                             (steps / bound.interval + 1) * bound.per_checkpoint),
                    saved_size(*plan))
              << "H " << hidden << " T " << steps << " B " << batch;
        }
      }
    }
  }
}

// Runs each body(i) on a thread of its own, starting with the last.
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
  void SetUp() override { choose(hwy::SupportedTargets() & ~(GetParam() - 1)); }
  void TearDown() override { choose(0); }

 private:
  // The better of two targets has the lower bit, so SetUp allows the target of this test and all
  // worse ones: what is not compiled for it (double, for AVX-512) falls back to the next. 0: all
  // targets of the machine.
  static void choose(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// Those that are compiled and that this machine runs. Where there are no vectors there is no
// kernel.
inline auto all_targets() {
  std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  std::erase(targets, HWY_SCALAR);
  return ::testing::ValuesIn(targets);
}
inline std::string target_name(const ::testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace stpn::kernels::testing
