#include "stpn/kernels/cpu/simd_targets.h"

#include <hwy/highway.h>

namespace stpn::kernels {

// Asks for the target that was chosen, as HWY_DYNAMIC_DISPATCH does: Highway 1.0 remembers that,
// but asks the processor anew in each SupportedTargets(), which takes microseconds in a virtual
// machine.
bool has_simd_target() {
  hwy::ChosenTarget& chosen = hwy::GetChosenTarget();
  if (!chosen.IsInitialized()) chosen.Update(hwy::SupportedTargets());
  constexpr size_t kScalar = HWY_MAX_DYNAMIC_TARGETS + 1;
  return chosen.GetIndex() < kScalar;
}

}  // namespace stpn::kernels
