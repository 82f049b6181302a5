// Kernels flush denormals to zero, also while an environment runs within them. Physics and what is
// computed from it must have the same bits elsewhere.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace stpn::tasks {

// Computes with denormals on this thread during its lifetime, then restores the previous setting.
class StandardArithmetic {
 public:
#if defined(__SSE__)
  // The bits "flush to zero" and "denormals are zero".
  StandardArithmetic() : before_(_mm_getcsr()) { _mm_setcsr(before_ & ~0x8040U); }
  ~StandardArithmetic() { _mm_setcsr(before_); }
#else
  StandardArithmetic() = default;
#endif
  StandardArithmetic(const StandardArithmetic&) = delete;
  StandardArithmetic& operator=(const StandardArithmetic&) = delete;

#if defined(__SSE__)
 private:
  unsigned before_;
#endif
};

}  // namespace stpn::tasks
