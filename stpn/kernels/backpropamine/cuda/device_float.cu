#include "stpn/kernels/backpropamine/cuda/device.cuh"

namespace stpn::kernels {

SavedBound backpropamine_cuda_saved(const Extent& extent, const BackpropamineVariant& variant) {
  return cuda::backpropamine::Sizes(extent, variant).saved_bound();
}

template void backpropamine_forward_cuda(const BackpropamineForwardParams<float>&);
template void backpropamine_backward_cuda(const BackpropamineBackwardParams<float>&);
template int64_t backpropamine_cuda_workspace<float>(const Extent&, const BackpropamineVariant&,
                                                     bool);

}  // namespace stpn::kernels
