#include "stpn/kernels/backpropamine/cuda/device.cuh"

namespace stpn::kernels {

template void backpropamine_forward_cuda(const BackpropamineForwardParams<double>&);
template void backpropamine_backward_cuda(const BackpropamineBackwardParams<double>&);
template int64_t backpropamine_cuda_workspace<double>(const Extent&, const BackpropamineVariant&,
                                                      bool);

}  // namespace stpn::kernels
