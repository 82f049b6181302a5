// Fast weights decay geometrically towards zero and so make denormal numbers, which cost the
// processor a hundred times a normal one. Inside the CPU kernels, and what answers them in
// a closed loop, they are flushed to zero.
#pragma once

#include <hwy/base.h>

#if HWY_ARCH_X86
#include <xmmintrin.h>
#endif

namespace stpn::kernels {

// Flushes denormals of this thread for as long as it lives, then restores what was set before.
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
