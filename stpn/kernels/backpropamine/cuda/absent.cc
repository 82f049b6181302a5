// Backpropamine's CUDA kernels in a build without CUDA.

#include "stpn/kernels/cuda/absent.h"

#include "stpn/kernels/backpropamine/cuda/cuda.h"
#include "stpn/kernels/backpropamine/cuda/layout.h"

namespace stpn::kernels {

template <typename T>
void backpropamine_forward_cuda(const BackpropamineForwardParams<T>&) {
  cuda::fail_absent();
}
template <typename T>
void backpropamine_backward_cuda(const BackpropamineBackwardParams<T>&) {
  cuda::fail_absent();
}
SavedBound backpropamine_cuda_saved(const Extent& extent, const BackpropamineVariant& variant) {
  return cuda::backpropamine::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t backpropamine_cuda_workspace(const Extent&, const BackpropamineVariant&, bool) {
  cuda::fail_absent();
}

template void backpropamine_forward_cuda(const BackpropamineForwardParams<float>&);
template void backpropamine_forward_cuda(const BackpropamineForwardParams<double>&);
template void backpropamine_backward_cuda(const BackpropamineBackwardParams<float>&);
template void backpropamine_backward_cuda(const BackpropamineBackwardParams<double>&);
template int64_t backpropamine_cuda_workspace<float>(const Extent&, const BackpropamineVariant&,
                                                     bool);
template int64_t backpropamine_cuda_workspace<double>(const Extent&, const BackpropamineVariant&,
                                                      bool);

}  // namespace stpn::kernels
