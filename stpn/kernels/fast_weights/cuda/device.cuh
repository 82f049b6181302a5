// The CUDA kernels of Fast Weights, and how they are started. One source for each type includes
// this, so that both compile at the same time.
#pragma once

#include "stpn/kernels/cuda/device.cuh"
#include "stpn/kernels/fast_weights/cuda/backward-inl.h"
#include "stpn/kernels/fast_weights/cuda/cuda.h"
#include "stpn/kernels/fast_weights/cuda/forward-inl.h"
#include "stpn/kernels/fast_weights/cuda/sums-inl.h"

namespace stpn::kernels {
namespace cuda::fast_weights {
namespace {

template <typename T, bool kResident>
__global__ void __launch_bounds__(kMaxThreads)
    forward_kernel(const __grid_constant__ FastWeightsForwardParams<T> p,
                   const __grid_constant__ Division d) {
  const Workspace<T> workspace(p.on_device.workspace, d);
  run_team<T, kResident>(
      d.forward, [&](int sample) { return workspace.forward_team(sample); },
      [&](const SampleTeam<kResident>& team, T* memory, int sample) {
        ForwardThread<T, SampleTeam<kResident>>(team, p, d.sizes, d.forward, d.forward_memory,
                                                memory, sample)
            .run();
      });
}

template <typename T, bool kResident>
__global__ void __launch_bounds__(kMaxThreads)
    backward_kernel(const __grid_constant__ FastWeightsBackwardParams<T> p,
                    const __grid_constant__ Division d) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  run_team<T, kResident>(
      d.backward, [&](int sample) { return workspace.backward_team(sample); },
      [&](const SampleTeam<kResident>& team, T* memory, int sample) {
        BackwardThread<T, SampleTeam<kResident>>(team, p, d.sizes, d.backward, d.backward_memory,
                                                 memory, workspace, sample)
            .run();
      });
}

template <typename T>
__global__ void add_up_kernel(const __grid_constant__ FastWeightsBackwardParams<T> p,
                              const __grid_constant__ Division d) {
  add_up_gradients(GridTeam(1), p, Workspace<T>(p.forward.on_device.workspace, d));
}

template <typename T>
Division divided(const Extent& extent, const FastWeightsVariant& variant) {
  return Division(extent, variant, sizeof(T), current_machine());
}

}  // namespace
}  // namespace cuda::fast_weights

namespace unit = cuda::fast_weights;

template <typename T>
void fast_weights_forward_cuda(const FastWeightsForwardParams<T>& p) {
  cuda::check_open(p.closed_loop);
  const unit::Division d = unit::divided<T>(p.extent, p.variant);
  cuda::launch(unit::forward_kernel<T, true>, unit::forward_kernel<T, false>, d.sizes.batch,
               d.forward, d.forward_memory.end * sizeof(T), p.on_device.stream, p, d);
}

template <typename T>
void fast_weights_backward_cuda(const FastWeightsBackwardParams<T>& p) {
  const FastWeightsForwardParams<T>& f = p.forward;
  const unit::Division d = unit::divided<T>(f.extent, f.variant);
  cuda::launch(unit::backward_kernel<T, true>, unit::backward_kernel<T, false>, d.sizes.batch,
               d.backward, d.backward_memory.end * sizeof(T), f.on_device.stream, p, d);
  auto* stream = static_cast<cudaStream_t>(f.on_device.stream);
  unit::add_up_kernel<<<cuda::grid_of(d.sizes.weights()), cuda::kGridThreads, 0, stream>>>(p, d);
  cuda::check(cudaGetLastError(), "the sums over samples");
}

template <typename T>
int64_t fast_weights_cuda_workspace(const Extent& extent, const FastWeightsVariant& variant,
                                    bool backward) {
  const unit::Division d = unit::divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
}

}  // namespace stpn::kernels
