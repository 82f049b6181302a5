// Fast weights decay geometrically towards zero and so become denormal numbers, which cost the
// processor a hundred times as much as normal ones. The CPU kernels, and the closed loops that they
// call, flush them to zero.
#pragma once

#include <hwy/base.h>

#if HWY_ARCH_X86
#include <xmmintrin.h>
#endif

namespace stpn::kernels {

// Flushes denormals to zero on this thread during its lifetime, then restores the previous setting.
class FlushDenormals {
 public:
#if HWY_ARCH_X86
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // FTZ and DAZ
  ~FlushDenormals() { _mm_setcsr(before_); }
#else
  FlushDenormals() = default;
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

#if HWY_ARCH_X86
 private:
  unsigned before_;
#endif
};

}  // namespace stpn::kernels
