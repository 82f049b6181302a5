#include "stpn/ops/runtime/saved_buffer.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace stpn::ops::saved_buffer_test {
namespace {

constexpr int64_t kLarge = 1 << 16;

const void* memory_of(int64_t count) { return saved_buffer(count, at::kFloat).const_data_ptr(); }

TEST(SavedBufferTest, HasTheSizeAndTypeThatIsAskedFor) {
  for (const int64_t count : {int64_t{0}, int64_t{7}, kLarge}) {
    const at::Tensor memory = saved_buffer(count, at::kDouble);
    EXPECT_EQ(memory.sizes(), at::IntArrayRef({count}));
    EXPECT_EQ(memory.scalar_type(), at::kDouble);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.const_data_ptr()) % 64, 0U);
    if (count > 0) memory.fill_(1);
  }
}

TEST(SavedBufferTest, ALargeBlockIsUsedAgainIfItFits) {
  const void* first = memory_of(2 * kLarge);
  EXPECT_EQ(memory_of(2 * kLarge), first);
  EXPECT_EQ(memory_of(kLarge), first);
  EXPECT_EQ(memory_of(2 * kLarge), first);
}

TEST(SavedBufferTest, TwoAtATimeAreDifferent) {
  memory_of(2 * kLarge);
  const at::Tensor one = saved_buffer(2 * kLarge, at::kFloat);
  const at::Tensor other = saved_buffer(2 * kLarge, at::kFloat);
  EXPECT_NE(one.const_data_ptr(), other.const_data_ptr());
}

TEST(SavedBufferTest, AMuchLargerBlockIsLeftForThoseThatNeedIt) {
  const void* large = memory_of(64 * kLarge);
  const at::Tensor small = saved_buffer(kLarge, at::kFloat);
  EXPECT_NE(small.const_data_ptr(), large);
  EXPECT_EQ(memory_of(64 * kLarge), large);
}

}  // namespace
}  // namespace stpn::ops::saved_buffer_test
