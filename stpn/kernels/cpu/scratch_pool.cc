#include "stpn/kernels/cpu/scratch_pool.h"

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

namespace stpn::kernels {
namespace {

// Sizes are powers of two; what is never written of a block costs no memory.
constexpr int kSmallest = 12;
constexpr int kLargest = 26;
constexpr size_t kMostOfASize = 4;
constexpr size_t kMostBytes = size_t{1} << kLargest;

int size_class(size_t bytes) {
  return bytes == 0 ? 0 : std::max(kSmallest, static_cast<int>(std::bit_width(bytes - 1)));
}

class Pool {
 public:
  ~Pool() {
    for (const auto& blocks : held_) {
      for (void* block : blocks) free(block);
    }
  }
  void* take(int size_class) {
    if (size_class <= kLargest && !held_[size_class].empty()) {
      void* const block = held_[size_class].back();
      held_[size_class].pop_back();
      bytes_ -= size_t{1} << size_class;
      return block;
    }
    return hwy::AllocateAlignedBytes(size_t{1} << size_class, nullptr, nullptr);
  }
  void put(int size_class, void* block) {
    const size_t bytes = size_t{1} << size_class;
    if (size_class > kLargest || bytes_ + bytes > kMostBytes ||
        held_[size_class].size() == kMostOfASize) {
      free(block);
      return;
    }
    held_[size_class].push_back(block);
    bytes_ += bytes;
  }

 private:
  static void free(void* block) { hwy::FreeAlignedBytes(block, nullptr, nullptr); }

  std::array<std::vector<void*>, kLargest + 1> held_;
  size_t bytes_ = 0;
};

thread_local Pool pool;

}  // namespace

ScratchBlock::ScratchBlock(size_t bytes)
    : size_class_(size_class(bytes)), memory_(bytes == 0 ? nullptr : pool.take(size_class_)) {
#ifdef __SANITIZE_ADDRESS__
  // NaN: shows where it is read before it is written.
  if (bytes > 0) std::memset(memory_, 0xff, bytes);
#endif
}
ScratchBlock::~ScratchBlock() {
  if (memory_ != nullptr) pool.put(size_class_, memory_);
}
ScratchBlock::ScratchBlock(ScratchBlock&& other) noexcept
    : size_class_(other.size_class_), memory_(std::exchange(other.memory_, nullptr)) {}
ScratchBlock& ScratchBlock::operator=(ScratchBlock&& other) noexcept {
  std::swap(size_class_, other.size_class_);
  std::swap(memory_, other.memory_);
  return *this;
}

}  // namespace stpn::kernels
