#include "stpn/kernels/fast_weights/cuda/device.cuh"

namespace stpn::kernels {

SavedBound fast_weights_cuda_saved(const Extent& extent, const FastWeightsVariant& variant) {
  return cuda::fast_weights::Sizes(extent, variant).saved_bound();
}

template void fast_weights_forward_cuda(const FastWeightsForwardParams<float>&);
template void fast_weights_backward_cuda(const FastWeightsBackwardParams<float>&);
template int64_t fast_weights_cuda_workspace<float>(const Extent&, const FastWeightsVariant&, bool);

}  // namespace stpn::kernels
