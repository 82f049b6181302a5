#include "stpn/kernels/cpu/simd_targets.h"

#include <hwy/highway.h>

namespace stpn::kernels {

bool has_simd_target() { return (hwy::SupportedTargets() & HWY_TARGETS & ~HWY_SCALAR) != 0; }

}  // namespace stpn::kernels
