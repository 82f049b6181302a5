// The CUDA kernels of Fast Weights in a build without CUDA.

#include "stpn/kernels/cuda/absent.h"

#include "stpn/kernels/fast_weights/cuda/cuda.h"
#include "stpn/kernels/fast_weights/cuda/layout.h"

namespace stpn::kernels {

template <typename T>
void fast_weights_forward_cuda(const FastWeightsForwardParams<T>&) {
  cuda::fail_absent();
}
template <typename T>
void fast_weights_backward_cuda(const FastWeightsBackwardParams<T>&) {
  cuda::fail_absent();
}
SavedBound fast_weights_cuda_saved(const Extent& extent, const FastWeightsVariant& variant) {
  return cuda::fast_weights::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t fast_weights_cuda_workspace(const Extent&, const FastWeightsVariant&, bool) {
  cuda::fail_absent();
}

template void fast_weights_forward_cuda(const FastWeightsForwardParams<float>&);
template void fast_weights_forward_cuda(const FastWeightsForwardParams<double>&);
template void fast_weights_backward_cuda(const FastWeightsBackwardParams<float>&);
template void fast_weights_backward_cuda(const FastWeightsBackwardParams<double>&);
template int64_t fast_weights_cuda_workspace<float>(const Extent&, const FastWeightsVariant&, bool);
template int64_t fast_weights_cuda_workspace<double>(const Extent&, const FastWeightsVariant&,
                                                     bool);

}  // namespace stpn::kernels
