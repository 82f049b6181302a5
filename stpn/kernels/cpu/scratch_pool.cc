#include "stpn/kernels/cpu/scratch_pool.h"

#include <hwy/aligned_allocator.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

namespace stpn::kernels {
namespace {

// Sizes are powers of two. Pages of a block that are never written cost no memory.
constexpr int kMinSizeClass = 12;
constexpr int kMaxSizeClass = 28;
constexpr size_t kMaxBlocksOfASize = 4;
constexpr size_t kMaxPoolBytes = size_t{1} << kMaxSizeClass;

// Blocks of two large pages and more are asked for in large pages: a kernel that walks through many
// arrays at once would otherwise wait for the addresses of its pages.
constexpr int kLargePageClass = 21;  // 2 MiB

bool has_large_pages(int size_class) { return size_class > kLargePageClass; }

void* allocate(int size_class) {
  const size_t bytes = size_t{1} << size_class;
  void* const block = has_large_pages(size_class)
                          ? std::aligned_alloc(size_t{1} << kLargePageClass, bytes)
                          : hwy::AllocateAlignedBytes(bytes, nullptr, nullptr);
  if (block == nullptr) throw std::bad_alloc();
#ifdef __linux__
  // A system without large pages refuses, which is no error.
  if (has_large_pages(size_class)) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}
void release(int size_class, void* block) {
  if (has_large_pages(size_class)) return std::free(block);
  hwy::FreeAlignedBytes(block, nullptr, nullptr);
}

int size_class(size_t bytes) {
  return bytes == 0 ? 0 : std::max(kMinSizeClass, static_cast<int>(std::bit_width(bytes - 1)));
}

class Pool {
 public:
  ~Pool() {
    for (int size_class = 0; size_class <= kMaxSizeClass; ++size_class) {
      for (void* block : held_[size_class]) release(size_class, block);
    }
  }
  void* take(int size_class) {
    if (size_class <= kMaxSizeClass && !held_[size_class].empty()) {
      void* const block = held_[size_class].back();
      held_[size_class].pop_back();
      bytes_ -= size_t{1} << size_class;
      return block;
    }
    return allocate(size_class);
  }
  void put(int size_class, void* block) {
    const size_t bytes = size_t{1} << size_class;
    if (size_class > kMaxSizeClass || bytes_ + bytes > kMaxPoolBytes ||
        held_[size_class].size() == kMaxBlocksOfASize) {
      return release(size_class, block);
    }
    held_[size_class].push_back(block);
    bytes_ += bytes;
  }

 private:
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
