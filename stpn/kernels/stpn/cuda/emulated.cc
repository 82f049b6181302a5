// The STPN's CUDA kernels on the CPU, where a test asks for them: memory of the device is memory.

#include "stpn/kernels/stpn/cuda/emulated.h"

#include <atomic>
#include <stdexcept>

#include "stpn/kernels/stpn/cuda/cuda.h"

namespace stpn::kernels {
namespace {

// As an H200, so that large units get clusters.
constexpr cuda::Machine kEmulated{227 * 1024, 8, 132};

template <typename T>
cuda::Division divided(const Extent& extent, const StpnVariant& variant) {
  return cuda::Division(extent, variant, sizeof(T), kEmulated);
}

// Each call runs the threads in another order.
uint64_t next_seed() {
  static std::atomic<uint64_t> calls = 0;
  return 1000 * ++calls;
}

}  // namespace

template <typename T>
void stpn_forward_cuda(const StpnForwardParams<T>& p) {
  cuda::emulate_forward(p, divided<T>(p.extent, p.variant), next_seed());
}
template <typename T>
void stpn_backward_cuda(const StpnBackwardParams<T>& p) {
  cuda::emulate_backward(p, divided<T>(p.forward.extent, p.forward.variant), next_seed());
}
SavedBound stpn_cuda_saved(const Extent& extent, const StpnVariant& variant) {
  return cuda::Sizes(extent, variant).saved_bound();
}
template <typename T>
int64_t stpn_cuda_workspace(const Extent&, const StpnVariant&, bool) {
  return 0;  // emulate_forward and emulate_backward have their own
}

template void stpn_forward_cuda(const StpnForwardParams<float>&);
template void stpn_forward_cuda(const StpnForwardParams<double>&);
template void stpn_backward_cuda(const StpnBackwardParams<float>&);
template void stpn_backward_cuda(const StpnBackwardParams<double>&);
template int64_t stpn_cuda_workspace<float>(const Extent&, const StpnVariant&, bool);
template int64_t stpn_cuda_workspace<double>(const Extent&, const StpnVariant&, bool);

}  // namespace stpn::kernels
