// The STPN's CUDA kernels: teams of threads on a GPU, and how they are started. One source for each
// type includes this, so that both compile at the same time.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "stpn/kernels/stpn/cuda/backward-inl.h"
#include "stpn/kernels/stpn/cuda/cuda.h"
#include "stpn/kernels/stpn/cuda/forward-inl.h"
#include "stpn/kernels/stpn/cuda/sums-inl.h"

namespace stpn::kernels {
namespace cuda {
namespace {

// The lanes of a group, which are neighbours in a warp.
class Lanes {
 public:
  __device__ explicit Lanes(int lanes)
      : lanes_(lanes),
        mask_((lanes == 32 ? ~0u : (1u << lanes) - 1) << (threadIdx.x % 32 & ~(lanes - 1))) {}
  __device__ int lane() const { return static_cast<int>(threadIdx.x) & (lanes_ - 1); }
  __device__ int lanes() const { return lanes_; }
  template <typename T>
  __device__ T sum(T value) const {
    for (int offset = lanes_ / 2; offset > 0; offset /= 2) {
      value += __shfl_xor_sync(mask_, value, offset);
    }
    return value;
  }
  // Two sums in the time of one: their shuffles do not wait for each other.
  template <typename T>
  __device__ void sum(T& one, T& other) const {
    for (int offset = lanes_ / 2; offset > 0; offset /= 2) {
      one += __shfl_xor_sync(mask_, one, offset);
      other += __shfl_xor_sync(mask_, other, offset);
    }
  }
  template <typename T>
  __device__ T from_first(T value) const {
    return __shfl_sync(mask_, value, 0, lanes_);
  }

 private:
  int lanes_;
  unsigned mask_;
};

// A block whose matrices are in its shared memory, or a cluster of blocks that streams them.
template <bool kResident>
class SampleTeam : public Lanes {
 public:
  __device__ explicit SampleTeam(const Team& team)
      : Lanes(team.lanes),
        threads_(team.threads * team.blocks),
        thread_(static_cast<int>(blockIdx.x) % team.blocks * team.threads +
                static_cast<int>(threadIdx.x)) {}
  __device__ int thread() const { return thread_; }
  __device__ int threads() const { return threads_; }
  __device__ int group() const { return thread_ / lanes(); }
  __device__ int groups() const { return threads_ / lanes(); }
  __device__ void sync() const {
#if __CUDA_ARCH__ >= 900
    if constexpr (!kResident) {
      cooperative_groups::this_cluster().sync();
      return;
    }
#endif
    __syncthreads();
  }

 private:
  int threads_, thread_;
};

class GridTeam : public Lanes {
 public:
  using Lanes::Lanes;
  __device__ int64_t thread() const { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
  __device__ int64_t threads() const { return int64_t{gridDim.x} * blockDim.x; }
  __device__ int64_t group() const { return thread() / lanes(); }
  __device__ int64_t groups() const { return threads() / lanes(); }
};

extern __shared__ double shared_memory[];

// The memory of the team: its block's, or a part of the workspace.
template <typename T, bool kResident>
__device__ T* team_memory(T* streamed, int64_t values, int sample) {
  if constexpr (kResident) {
    return reinterpret_cast<T*>(shared_memory);
  } else {
    return streamed + sample * values;
  }
}

template <typename T, bool kResident>
__global__ void __launch_bounds__(Division::kMaxThreads)
    forward_kernel(const __grid_constant__ StpnForwardParams<T> p,
                   const __grid_constant__ Division d) {
  const SampleTeam<kResident> team(d.forward);
  const int sample = static_cast<int>(blockIdx.x) / d.forward.blocks;
  T* memory = team_memory<T, kResident>(static_cast<T*>(p.on_device.workspace),
                                        d.forward_memory.end, sample);
  ForwardThread<T, SampleTeam<kResident>>(team, p, d.sizes, d.forward, d.forward_memory, memory,
                                          sample)
      .run();
}

template <typename T, bool kResident>
__global__ void __launch_bounds__(Division::kMaxThreads)
    backward_kernel(const __grid_constant__ StpnBackwardParams<T> p,
                    const __grid_constant__ Division d) {
  const SampleTeam<kResident> team(d.backward);
  const int sample = static_cast<int>(blockIdx.x) / d.backward.blocks;
  T* workspace = static_cast<T*>(p.forward.on_device.workspace);
  T* memory = team_memory<T, kResident>(workspace + d.team_memory(), d.backward_memory.end, sample);
  BackwardThread<T, SampleTeam<kResident>>(
      team, p, d.sizes, d.backward, d.backward_memory, memory, workspace + sample * d.recomputed(),
      workspace + d.sample_sums() + sample * d.sizes.sums(), sample)
      .run();
}

template <typename T>
__global__ void add_up_kernel(const __grid_constant__ Division d, T* workspace) {
  add_up(GridTeam(1), workspace + d.sample_sums(), d.sizes.sums(), d.sizes.batch,
         workspace + d.total_sums());
}

template <typename T>
__global__ void gradients_kernel(const __grid_constant__ StpnBackwardParams<T> p,
                                 const __grid_constant__ Division d, int lanes) {
  const GridTeam team(lanes);
  const T* workspace = static_cast<const T*>(p.forward.on_device.workspace);
  GradientsThread<T, GridTeam>(team, p, d.sizes, workspace + d.total_sums()).run();
}

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("stpn on CUDA: ") + what + ": " +
                           cudaGetErrorString(status));
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

Machine current_machine() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  Machine machine;
  machine.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  machine.processors = attribute(cudaDevAttrMultiProcessorCount, device);
  constexpr int kPortableCluster = 8;
  machine.max_cluster =
      attribute(cudaDevAttrComputeCapabilityMajor, device) >= 9 ? kPortableCluster : 1;
  return machine;
}

template <typename T>
Division divided(const Extent& extent, const StpnVariant& variant) {
  return Division(extent, variant, sizeof(T), current_machine());
}

// One team for each sample.
template <typename... Arguments>
void launch(void (*kernel)(Arguments...), const Division& d, const Team& team, int64_t bytes,
            void* stream, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(d.sizes.batch * team.blocks));
  config.blockDim = dim3(static_cast<unsigned>(team.threads));
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute cluster{};
  if (team.resident) {
    config.dynamicSmemBytes = static_cast<size_t>(bytes);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes)),
          "cudaFuncSetAttribute");
  } else if (team.blocks > 1) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(team.blocks);
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = 1;
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "cudaLaunchKernelEx");
}

// Blocks of kGridThreads threads, enough for a thread for each of `count`, if that is not too many.
constexpr int kGridThreads = 256;
unsigned grid_of(int64_t count) {
  constexpr int64_t kMaxBlocks = 1 << 16;
  const int64_t blocks = (count + kGridThreads - 1) / kGridThreads;
  return static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

void check_open(const ClosedLoop* closed_loop) {
  if (closed_loop == nullptr) return;
  throw std::runtime_error("stpn on CUDA: no closed loop: run the steps one by one, or on the CPU");
}

}  // namespace
}  // namespace cuda

template <typename T>
void stpn_forward_cuda(const StpnForwardParams<T>& p) {
  cuda::check_open(p.closed_loop);
  const cuda::Division d = cuda::divided<T>(p.extent, p.variant);
  const auto kernel =
      d.forward.resident ? cuda::forward_kernel<T, true> : cuda::forward_kernel<T, false>;
  cuda::launch(kernel, d, d.forward, d.forward_memory.end * sizeof(T), p.on_device.stream, p, d);
}

template <typename T>
void stpn_backward_cuda(const StpnBackwardParams<T>& p) {
  const StpnForwardParams<T>& f = p.forward;
  const cuda::Division d = cuda::divided<T>(f.extent, f.variant);
  const auto kernel =
      d.backward.resident ? cuda::backward_kernel<T, true> : cuda::backward_kernel<T, false>;
  cuda::launch(kernel, d, d.backward, d.backward_memory.end * sizeof(T), f.on_device.stream, p, d);
  auto* stream = static_cast<cudaStream_t>(f.on_device.stream);
  const int64_t sums = d.sizes.sums();
  cuda::add_up_kernel<<<cuda::grid_of(sums), cuda::kGridThreads, 0, stream>>>(
      d, static_cast<T*>(f.on_device.workspace));
  cuda::check(cudaGetLastError(), "the sums over samples");
  const int lanes = cuda::lanes_of_rate(f.variant);
  cuda::gradients_kernel<<<cuda::grid_of(sums), cuda::kGridThreads, 0, stream>>>(p, d, lanes);
  cuda::check(cudaGetLastError(), "the gradients of parameters");
}

template <typename T>
int64_t stpn_cuda_workspace(const Extent& extent, const StpnVariant& variant, bool backward) {
  const cuda::Division d = cuda::divided<T>(extent, variant);
  return backward ? d.backward_workspace() : d.forward_workspace();
}

}  // namespace stpn::kernels
