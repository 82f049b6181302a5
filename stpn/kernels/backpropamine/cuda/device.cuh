// Backpropamine's CUDA kernels, and how they are started. One source for each type includes this,
// so that both compile at the same time.
#pragma once

#include "stpn/kernels/backpropamine/cuda/backward-inl.h"
#include "stpn/kernels/backpropamine/cuda/cuda.h"
#include "stpn/kernels/backpropamine/cuda/forward-inl.h"
#include "stpn/kernels/backpropamine/cuda/sums-inl.h"
#include "stpn/kernels/cuda/device.cuh"

namespace stpn::kernels {
namespace cuda::backpropamine {
namespace {

template <typename T, bool kResident>
__global__ void __launch_bounds__(kMaxThreads)
    forward_kernel(const __grid_constant__ BackpropamineForwardParams<T> p,
                   const __grid_constant__ Division d) {
  const Workspace<T> workspace(p.on_device.workspace, d);
  run_team<T, kResident>(
      d.forward, [&](int sample) { return workspace.forward_team(sample); },
      [&](const SampleTeam<kResident>& team, T* memory, int sample) {
        ForwardThread<T, SampleTeam<kResident>>(team, p, d, memory, sample).run();
      });
}

template <typename T, bool kResident>
__global__ void __launch_bounds__(kMaxThreads)
    backward_kernel(const __grid_constant__ BackpropamineBackwardParams<T> p,
                    const __grid_constant__ Division d) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  run_team<T, kResident>(
      d.backward, [&](int sample) { return workspace.backward_team(sample); },
      [&](const SampleTeam<kResident>& team, T* memory, int sample) {
        BackwardThread<T, SampleTeam<kResident>>(team, p, d, workspace, memory, sample).run();
      });
}

template <typename T>
__global__ void gradients_kernel(const __grid_constant__ BackpropamineBackwardParams<T> p,
                                 const __grid_constant__ Division d) {
  add_up_gradients(GridTeam(1), p, d);
}

template <typename T>
Division divided(const Extent& extent, const BackpropamineVariant& variant) {
  return Division(extent, variant, sizeof(T), current_machine());
}

}  // namespace
}  // namespace cuda::backpropamine

namespace unit = cuda::backpropamine;

template <typename T>
void backpropamine_forward_cuda(const BackpropamineForwardParams<T>& p) {
  cuda::check_open(p.closed_loop);
  const unit::Division d = unit::divided<T>(p.extent, p.variant);
  cuda::launch(unit::forward_kernel<T, true>, unit::forward_kernel<T, false>, d.sizes.batch,
               d.forward, d.forward_memory.end * sizeof(T), p.on_device.stream, p, d);
}

template <typename T>
void backpropamine_backward_cuda(const BackpropamineBackwardParams<T>& p) {
  const BackpropamineForwardParams<T>& f = p.forward;
  const unit::Division d = unit::divided<T>(f.extent, f.variant);
  cuda::launch(unit::backward_kernel<T, true>, unit::backward_kernel<T, false>, d.sizes.batch,
               d.backward, d.backward_memory.end * sizeof(T), f.on_device.stream, p, d);
  auto* stream = static_cast<cudaStream_t>(f.on_device.stream);
  const int64_t weights = int64_t{d.sizes.hidden} * d.sizes.fan_in;
  unit::gradients_kernel<<<cuda::grid_of(weights), cuda::kGridThreads, 0, stream>>>(p, d);
  cuda::check(cudaGetLastError(), "the gradients of parameters");
}

template <typename T>
int64_t backpropamine_cuda_workspace(const Extent& extent, const BackpropamineVariant& variant,
                                     bool backward) {
  const unit::Division d = unit::divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
}

}  // namespace stpn::kernels
