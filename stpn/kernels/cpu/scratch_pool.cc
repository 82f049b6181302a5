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

// Sizes are powers of two. Pages of a block that are never written cost no memory.
constexpr int kMinSizeClass = 12;
constexpr int kMaxSizeClass = 26;
constexpr size_t kMaxBlocksOfASize = 4;
constexpr size_t kMaxPoolBytes = size_t{1} << kMaxSizeClass;

int size_class(size_t bytes) {
  return bytes == 0 ? 0 : std::max(kMinSizeClass, static_cast<int>(std::bit_width(bytes - 1)));
}

class Pool {
 public:
  ~Pool() {
    for (const auto& blocks : held_) {
      for (void* block : blocks) free(block);
    }
  }
  void* take(int size_class) {
    if (size_class <= kMaxSizeClass && !held_[size_class].empty()) {
      void* const block = held_[size_class].back();
      held_[size_class].pop_back();
      bytes_ -= size_t{1} << size_class;
      return block;
    }
    return hwy::AllocateAlignedBytes(size_t{1} << size_class, nullptr, nullptr);
  }
  void put(int size_class, void* block) {
    const size_t bytes = size_t{1} << size_class;
    if (size_class > kMaxSizeClass || bytes_ + bytes > kMaxPoolBytes ||
        held_[size_class].size() == kMaxBlocksOfASize) {
      free(block);
      return;
    }
    held_[size_class].push_back(block);
    bytes_ += bytes;
  }

 private:
  static void free(void* block) { hwy::FreeAlignedBytes(block, nullptr, nullptr); }

  std::array<std::vector<void*>, kMaxSizeClass + 1> held_;
  size_t bytes_ = 0;
};

thread_local Pool pool;

}  // namespace

ScratchBuffer::ScratchBuffer(size_t bytes)
    : size_class_(size_class(bytes)), memory_(bytes == 0 ? nullptr : pool.take(size_class_)) {
#ifdef __SANITIZE_ADDRESS__
  // NaN in every value, so that tests see a read before the first write.
  if (bytes > 0) std::memset(memory_, 0xff, bytes);
#endif
}
ScratchBuffer::~ScratchBuffer() {
  if (memory_ != nullptr) pool.put(size_class_, memory_);
}
ScratchBuffer::ScratchBuffer(ScratchBuffer&& other) noexcept
    : size_class_(other.size_class_), memory_(std::exchange(other.memory_, nullptr)) {}
ScratchBuffer& ScratchBuffer::operator=(ScratchBuffer&& other) noexcept {
  std::swap(size_class_, other.size_class_);
  std::swap(memory_, other.memory_);
  return *this;
}

}  // namespace stpn::kernels
