// The STPN's CUDA kernels, and how they are started. One source for each type includes this, so
// that both compile at the same time.
#pragma once

#include "stpn/kernels/cuda/device.cuh"
#include "stpn/kernels/cuda/sums-inl.h"
#include "stpn/kernels/stpn/cuda/backward-inl.h"
#include "stpn/kernels/stpn/cuda/cuda.h"
#include "stpn/kernels/stpn/cuda/forward-inl.h"
#include "stpn/kernels/stpn/cuda/sums-inl.h"

namespace stpn::kernels {
namespace cuda::stpn_unit {
namespace {

template <typename T, bool kResident>
__global__ void __launch_bounds__(kMaxThreads)
    forward_kernel(const __grid_constant__ StpnForwardParams<T> p,
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
    backward_kernel(const __grid_constant__ StpnBackwardParams<T> p,
                    const __grid_constant__ Division d) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  run_team<T, kResident>(
      d.backward, [&](int sample) { return workspace.backward_team(sample); },
      [&](const SampleTeam<kResident>& team, T* memory, int sample) {
        BackwardThread<T, SampleTeam<kResident>>(team, p, d.sizes, d.backward, d.backward_memory,
                                                 memory, workspace.recomputed(sample),
                                                 workspace.sums(sample), sample)
            .run();
      });
}

template <typename T>
__global__ void add_up_kernel(const __grid_constant__ StpnBackwardParams<T> p,
                              const __grid_constant__ Division d) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  add_up(GridTeam(1), workspace.sums(0), d.sizes.sums(), d.sizes.batch, workspace.totals());
}

template <typename T>
__global__ void gradients_kernel(const __grid_constant__ StpnBackwardParams<T> p,
                                 const __grid_constant__ Division d, int lanes) {
  const GridTeam team(lanes);
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  GradientsThread<T, GridTeam>(team, p, d.sizes, workspace.totals()).run();
}

template <typename T>
Division divided(const Extent& extent, const StpnVariant& variant) {
  return Division(extent, variant, sizeof(T), current_machine());
}

}  // namespace
}  // namespace cuda::stpn_unit

namespace unit = cuda::stpn_unit;

template <typename T>
void stpn_forward_cuda(const StpnForwardParams<T>& p) {
  cuda::check_open(p.closed_loop);
  const unit::Division d = unit::divided<T>(p.extent, p.variant);
  cuda::launch(unit::forward_kernel<T, true>, unit::forward_kernel<T, false>, d.sizes.batch,
               d.forward, d.forward_memory.end * sizeof(T), p.on_device.stream, p, d);
}

template <typename T>
void stpn_backward_cuda(const StpnBackwardParams<T>& p) {
  const StpnForwardParams<T>& f = p.forward;
  const unit::Division d = unit::divided<T>(f.extent, f.variant);
  cuda::launch(unit::backward_kernel<T, true>, unit::backward_kernel<T, false>, d.sizes.batch,
               d.backward, d.backward_memory.end * sizeof(T), f.on_device.stream, p, d);
  auto* stream = static_cast<cudaStream_t>(f.on_device.stream);
  const int64_t sums = d.sizes.sums();
  unit::add_up_kernel<<<cuda::grid_of(sums), cuda::kGridThreads, 0, stream>>>(p, d);
  cuda::check(cudaGetLastError(), "the sums over samples");
  const int lanes = unit::lanes_of_rate(f.variant);
  unit::gradients_kernel<<<cuda::grid_of(sums), cuda::kGridThreads, 0, stream>>>(p, d, lanes);
  cuda::check(cudaGetLastError(), "the gradients of parameters");
}

template <typename T>
int64_t stpn_cuda_workspace(const Extent& extent, const StpnVariant& variant, bool backward) {
  const unit::Division d = unit::divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
}

}  // namespace stpn::kernels
