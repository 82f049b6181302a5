#include "stpn/kernels/cpu/scratch_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace stpn::kernels::scratch_pool_test {
namespace {

constexpr int64_t kSize = 100'000;

TEST(ScratchPoolTest, IsAlignedAndAsLargeAsAskedFor) {
  for (const int64_t count :
       {int64_t{1}, int64_t{1000}, kSize, int64_t{1'000'000}, int64_t{30'000'000}}) {
    const ScratchArray<float> memory(count);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % 64, 0U);
    memory.get()[0] = memory.get()[count - 1] = 1;
  }
  EXPECT_EQ(ScratchArray<float>().get(), nullptr);
}

TEST(ScratchPoolTest, ABlockIsUsedAgain) {
  for (const int64_t count : {kSize, int64_t{30'000'000}}) {
    const auto taken = [count] { return ScratchArray<float>(count).get(); };
    float* const first = taken();
    EXPECT_EQ(taken(), first);
  }
}

TEST(ScratchPoolTest, TwoAtATimeAreDifferent) {
  const ScratchArray<float> one(kSize);
  const ScratchArray<float> other(kSize);
  EXPECT_NE(one.get(), other.get());
}

TEST(ScratchPoolTest, MovesWithItsContent) {
  ScratchArray<int> one(kSize);
  std::fill_n(one.get(), kSize, 7);
  ScratchArray<int> other;
  other = std::move(one);
  EXPECT_EQ(std::count(other.get(), other.get() + kSize, 7), kSize);
}

// A thread ends while its pool has blocks, and another thread destroys a block it did not make.
TEST(ScratchPoolTest, BlocksMayChangeThreads) {
  ScratchArray<int> made;
  std::thread([&] { made = ScratchArray<int>(kSize); }).join();
  std::fill_n(made.get(), kSize, 3);
  std::thread([mine = std::move(made)] { EXPECT_EQ(mine.get()[kSize - 1], 3); }).join();
}

}  // namespace
}  // namespace stpn::kernels::scratch_pool_test
