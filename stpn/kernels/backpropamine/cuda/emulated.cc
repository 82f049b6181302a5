// Backpropamine's CUDA kernels on the CPU, where a test asks for them: memory of the device is
// memory.

#include "stpn/kernels/backpropamine/cuda/emulated.h"

#include "stpn/kernels/backpropamine/cuda/cuda.h"

namespace stpn::kernels {
namespace {

template <typename T>
cuda::backpropamine::Division divided(const Extent& extent, const BackpropamineVariant& variant) {
  return cuda::backpropamine::Division(extent, variant, sizeof(T), cuda::kEmulated);
}

}  // namespace

template <typename T>
void backpropamine_forward_cuda(const BackpropamineForwardParams<T>& p) {
  cuda::backpropamine::emulate_forward(p, divided<T>(p.extent, p.variant), cuda::next_seed());
}
template <typename T>
void backpropamine_backward_cuda(const BackpropamineBackwardParams<T>& p) {
  cuda::backpropamine::emulate_backward(p, divided<T>(p.forward.extent, p.forward.variant),
                                        cuda::next_seed());
}
SavedBound backpropamine_cuda_saved(const Extent& extent, const BackpropamineVariant& variant) {
  return cuda::backpropamine::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t backpropamine_cuda_workspace(const Extent& extent, const BackpropamineVariant& variant,
                                     bool backward) {
  const cuda::backpropamine::Division d = divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
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
