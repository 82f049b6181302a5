#include "stpn/kernels/fast_weights/cuda/device.cuh"

namespace stpn::kernels {

template void fast_weights_forward_cuda(const FastWeightsForwardParams<double>&);
template void fast_weights_backward_cuda(const FastWeightsBackwardParams<double>&);
template int64_t fast_weights_cuda_workspace<double>(const Extent&, const FastWeightsVariant&,
                                                     bool);

}  // namespace stpn::kernels
