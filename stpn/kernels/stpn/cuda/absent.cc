// The STPN's CUDA kernels in a build without CUDA.

#include "stpn/kernels/cuda/absent.h"

#include "stpn/kernels/stpn/cuda/cuda.h"
#include "stpn/kernels/stpn/cuda/layout.h"

namespace stpn::kernels {

template <typename T>
void stpn_forward_cuda(const StpnForwardParams<T>&) {
  cuda::fail_absent();
}
template <typename T>
void stpn_backward_cuda(const StpnBackwardParams<T>&) {
  cuda::fail_absent();
}
SavedBound stpn_cuda_saved(const Extent& extent, const StpnVariant& variant) {
  return cuda::stpn_unit::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t stpn_cuda_workspace(const Extent&, const StpnVariant&, bool) {
  cuda::fail_absent();
}

template void stpn_forward_cuda(const StpnForwardParams<float>&);
template void stpn_forward_cuda(const StpnForwardParams<double>&);
template void stpn_backward_cuda(const StpnBackwardParams<float>&);
template void stpn_backward_cuda(const StpnBackwardParams<double>&);
template int64_t stpn_cuda_workspace<float>(const Extent&, const StpnVariant&, bool);
template int64_t stpn_cuda_workspace<double>(const Extent&, const StpnVariant&, bool);

}  // namespace stpn::kernels
