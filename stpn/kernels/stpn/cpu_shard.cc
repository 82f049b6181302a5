// Dispatch of the STPN along the sources, in float.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/stpn/cpu_shard.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/kernels/stpn/cpu_shard-inl.h"
#include "stpn/kernels/stpn/cpu_shard.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

// What is exported has to be a function, not a template.
static constexpr auto& kForward = row_vectorised_forward<float>;
static constexpr auto& kBackward = row_vectorised_backward<float>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(kForward);
HWY_EXPORT(kBackward);

void stpn_row_vectorised(const StpnForwardParams<float>& p, const PaddedMatrices<float>& parameters,
                const PlasticPlan<float>& plan, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForward)(p, parameters, plan, shard);
}
void stpn_row_vectorised(const StpnBackwardParams<float>& p, const PaddedMatrices<float>& parameters,
                const PlasticPlan<float>& plan, const GradientSums<float>& gradients,
                int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackward)(p, parameters, plan, gradients, shard);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
