// The CUDA kernels of Fast Weights on the CPU, where a test asks for them: memory of the device is
// memory.

#include "stpn/kernels/fast_weights/cuda/emulated.h"

#include "stpn/kernels/fast_weights/cuda/cuda.h"

namespace stpn::kernels {
namespace {

template <typename T>
cuda::fast_weights::Division divided(const Extent& extent, const FastWeightsVariant& variant) {
  return cuda::fast_weights::Division(extent, variant, sizeof(T), cuda::kEmulated);
}

}  // namespace

template <typename T>
void fast_weights_forward_cuda(const FastWeightsForwardParams<T>& p) {
  cuda::fast_weights::emulate_forward(p, divided<T>(p.extent, p.variant), cuda::next_seed());
}
template <typename T>
void fast_weights_backward_cuda(const FastWeightsBackwardParams<T>& p) {
  cuda::fast_weights::emulate_backward(p, divided<T>(p.forward.extent, p.forward.variant),
                                       cuda::next_seed());
}
SavedBound fast_weights_cuda_saved(const Extent& extent, const FastWeightsVariant& variant) {
  return cuda::fast_weights::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t fast_weights_cuda_workspace(const Extent& extent, const FastWeightsVariant& variant,
                                    bool backward) {
  const cuda::fast_weights::Division d = divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
}

template void fast_weights_forward_cuda(const FastWeightsForwardParams<float>&);
template void fast_weights_forward_cuda(const FastWeightsForwardParams<double>&);
template void fast_weights_backward_cuda(const FastWeightsBackwardParams<float>&);
template void fast_weights_backward_cuda(const FastWeightsBackwardParams<double>&);
template int64_t fast_weights_cuda_workspace<float>(const Extent&, const FastWeightsVariant&, bool);
template int64_t fast_weights_cuda_workspace<double>(const Extent&, const FastWeightsVariant&,
                                                     bool);

}  // namespace stpn::kernels
