// Dispatch of the STPN along the sources, in double: a file of its own, as it takes minutes to
// compile.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/stpn_recurrent_double_cpu.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/kernels/stpn_chunk.h"
#include "stpn/kernels/stpn_recurrent-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

void along_forward_double(const StpnRecurrentForward<double>& p,
                          const PaddedMatrices<double>& parameters, const PlasticPlan<double>& plan,
                          int64_t chunk) {
  along_forward(p, parameters, plan, chunk);
}
void along_backward_double(const StpnRecurrentBackward<double>& p,
                           const PaddedMatrices<double>& parameters,
                           const PlasticPlan<double>& plan, const GradientSums<double>& gradients,
                           int64_t chunk) {
  along_backward(p, parameters, plan, gradients, chunk);
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stpn::kernels {

HWY_EXPORT(along_forward_double);
HWY_EXPORT(along_backward_double);

void stpn_along(const StpnRecurrentForward<double>& p, const PaddedMatrices<double>& parameters,
                const PlasticPlan<double>& plan, int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(along_forward_double)(p, parameters, plan, chunk);
}
void stpn_along(const StpnRecurrentBackward<double>& p, const PaddedMatrices<double>& parameters,
                const PlasticPlan<double>& plan, const GradientSums<double>& gradients,
                int64_t chunk) {
  HWY_DYNAMIC_DISPATCH(along_backward_double)(p, parameters, plan, gradients, chunk);
}

}  // namespace stpn::kernels
#endif  // HWY_ONCE
