#include "stpn/kernels/stpn/cuda/device.cuh"

namespace stpn::kernels {

SavedBound stpn_cuda_saved(const Extent& extent, const StpnVariant& variant) {
  return cuda::stpn_unit::Sizes(extent, variant).saved_bound();
}

template void stpn_forward_cuda(const StpnForwardParams<float>&);
template void stpn_backward_cuda(const StpnBackwardParams<float>&);
template int64_t stpn_cuda_workspace<float>(const Extent&, const StpnVariant&, bool);

}  // namespace stpn::kernels
