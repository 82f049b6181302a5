#include "stpn/kernels/stpn/cuda/device.cuh"

namespace stpn::kernels {

template void stpn_forward_cuda(const StpnForwardParams<double>&);
template void stpn_backward_cuda(const StpnBackwardParams<double>&);
template int64_t stpn_cuda_workspace<double>(const Extent&, const StpnVariant&, bool);

}  // namespace stpn::kernels
