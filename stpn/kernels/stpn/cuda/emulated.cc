// The STPN's CUDA kernels on the CPU, where a test asks for them: memory of the device is memory.

#include "stpn/kernels/stpn/cuda/emulated.h"

#include "stpn/kernels/stpn/cuda/cuda.h"

namespace stpn::kernels {
namespace {

template <typename T>
cuda::stpn_unit::Division divided(const Extent& extent, const StpnVariant& variant) {
  return cuda::stpn_unit::Division(extent, variant, sizeof(T), cuda::kEmulated);
}

}  // namespace

template <typename T>
void stpn_forward_cuda(const StpnForwardParams<T>& p) {
  cuda::stpn_unit::emulate_forward(p, divided<T>(p.extent, p.variant), cuda::next_seed());
}
template <typename T>
void stpn_backward_cuda(const StpnBackwardParams<T>& p) {
  cuda::stpn_unit::emulate_backward(p, divided<T>(p.forward.extent, p.forward.variant),
                                    cuda::next_seed());
}
SavedBound stpn_cuda_saved(const Extent& extent, const StpnVariant& variant) {
  return cuda::stpn_unit::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t stpn_cuda_workspace(const Extent& extent, const StpnVariant& variant, bool backward) {
  const cuda::stpn_unit::Division d = divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
}

template void stpn_forward_cuda(const StpnForwardParams<float>&);
template void stpn_forward_cuda(const StpnForwardParams<double>&);
template void stpn_backward_cuda(const StpnBackwardParams<float>&);
template void stpn_backward_cuda(const StpnBackwardParams<double>&);
template int64_t stpn_cuda_workspace<float>(const Extent&, const StpnVariant&, bool);
template int64_t stpn_cuda_workspace<double>(const Extent&, const StpnVariant&, bool);

}  // namespace stpn::kernels
