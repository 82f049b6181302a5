#include "stpn/ops/runtime/saved_buffer.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <c10/core/CPUAllocator.h>

#include <mutex>
#include <utility>

namespace stpn::ops {
namespace {

constexpr size_t kLarge = 1 << 16;

struct Block {
  at::DataPtr memory;
  size_t bytes = 0;
};

class Held {
 public:
  // The block that is held if it fits and is not much larger, else a new one.
  Block take(size_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      if (held_.bytes >= bytes && held_.bytes / 2 <= bytes) return std::exchange(held_, Block());
    }
    return {c10::GetCPUAllocator()->allocate(bytes), bytes};
  }
  void put(Block block) {
    const std::lock_guard lock(mutex_);
    if (block.bytes >= held_.bytes) std::swap(held_, block);
  }

 private:
  std::mutex mutex_;
  Block held_;
};

// Outlives every tensor.
Held& held() {
  static Held* const held = new Held;
  return *held;
}

}  // namespace

at::Tensor saved_buffer(int64_t count, const at::TensorOptions& options) {
  if (!options.device().is_cpu()) return at::empty({count}, options);
  const size_t bytes = count * options.dtype().itemsize();
  if (bytes < kLarge) return at::detail::empty_cpu({count}, options);
  auto* block = new Block(held().take(bytes));
  const auto let_go = [block](void*) {
    held().put(std::move(*block));
    delete block;
  };
  return at::from_blob(block->memory.get(), {count}, let_go, options);
}

}  // namespace stpn::ops
