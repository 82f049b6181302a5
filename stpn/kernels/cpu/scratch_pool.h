// Scratch memory of kernels, held between calls: a training loop asks for the same blocks thousands
// of times, and what goes back to the system in between is faulted in and zeroed anew, page by
// page.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stpn::kernels {

// A block of at least so many bytes, aligned for every SIMD target and not written; from those that
// this thread holds, if one fits. Each thread holds a few of each size, 64 MiB at most, to its end.
class ScratchBlock {
 public:
  explicit ScratchBlock(size_t bytes);
  ~ScratchBlock();
  ScratchBlock(ScratchBlock&& other) noexcept;
  ScratchBlock& operator=(ScratchBlock&& other) noexcept;
  void* get() const { return memory_; }

 private:
  int size_class_;
  void* memory_;
};

// `count` values of T.
template <typename T>
class ScratchArray {
 public:
  ScratchArray() : ScratchArray(0) {}
  explicit ScratchArray(int64_t count) : block_(static_cast<size_t>(count) * sizeof(T)) {}
  T* get() const { return static_cast<T*>(block_.get()); }

 private:
  ScratchBlock block_;
};

}  // namespace stpn::kernels
