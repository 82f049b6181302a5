// A pool of scratch buffers for kernels, which are reused from call to call. A training loop asks
// for the same buffers thousands of times; if they went back to the system in between, each page
// would be faulted in and zeroed again.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stpn::kernels {

// A buffer of at least `bytes` bytes, aligned for every SIMD target, not initialised. It comes from
// the pool of this thread if one there fits, and goes to the pool of the thread that destroys it. A
// pool holds a few buffers of each size, 256 MiB at most in all, until its thread ends. Where the
// system has large pages for those who ask, buffers of more than 2 MiB have them.
class ScratchBuffer {
 public:
  explicit ScratchBuffer(size_t bytes);
  ~ScratchBuffer();
  ScratchBuffer(ScratchBuffer&& other) noexcept;
  ScratchBuffer& operator=(ScratchBuffer&& other) noexcept;
  void* get() const { return memory_; }

 private:
  int size_class_;
  void* memory_;
};

// A scratch buffer of `count` values of T.
template <typename T>
class ScratchArray {
 public:
  ScratchArray() : ScratchArray(0) {}
  explicit ScratchArray(int64_t count) : block_(static_cast<size_t>(count) * sizeof(T)) {}
  T* get() const { return static_cast<T*>(block_.get()); }

 private:
  ScratchBuffer block_;
};

}  // namespace stpn::kernels
