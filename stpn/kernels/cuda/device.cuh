// Teams of threads on a GPU, and how kernels are started: what the units' CUDA kernels share.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/cuda/team.h"

namespace stpn::kernels::cuda {
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

__global__ void compiled_for() {}  // asked for what architecture it was compiled

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else a later call that is fine would find this error
  throw std::runtime_error(std::string("stpn on CUDA: ") + what + ": " +
                           cudaGetErrorString(status));
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

// Whether the kernels that run on this device were compiled for clusters: a library for an older
// architecture alone runs on a newer device too.
bool has_clusters(int device) {
  constexpr int kMajor = 9, kVersion = 10 * kMajor;
  cudaFuncAttributes of_code{};
  check(cudaFuncGetAttributes(&of_code, compiled_for), "cudaFuncGetAttributes");
  return attribute(cudaDevAttrComputeCapabilityMajor, device) >= kMajor &&
         of_code.ptxVersion >= kVersion;
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

int max_shared_bytes(int device) {
  return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

Machine current_machine() {
  const int device = current_device();
  Machine machine;
  machine.shared_bytes = max_shared_bytes(device);
  machine.processors = attribute(cudaDevAttrMultiProcessorCount, device);
  constexpr int kPortableCluster = 8;
  machine.max_cluster = has_clusters(device) ? kPortableCluster : 1;
  return machine;
}

// What a thread of a kernel with one team for each sample does: run(team, memory, sample). `memory`
// is the block's, or where the team is not resident at streamed(sample).
template <typename T, bool kResident, typename Streamed, typename Run>
__device__ __forceinline__ void run_team(const Team& shape, const Streamed& streamed,
                                         const Run& run) {
  const int sample = static_cast<int>(blockIdx.x) / shape.blocks;
  T* memory = reinterpret_cast<T*>(shared_memory);
  if constexpr (!kResident) memory = streamed(sample);
  run(SampleTeam<kResident>(shape), memory, sample);
}

// One team for each sample, by the kernel for resident teams or that for streamed ones.
template <typename... Arguments>
void launch(void (*resident)(Arguments...), void (*streamed)(Arguments...), int64_t batch,
            const Team& team, int64_t bytes, void* stream, Arguments... arguments) {
  const auto kernel = team.resident ? resident : streamed;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(batch * team.blocks));
  config.blockDim = dim3(static_cast<unsigned>(team.threads));
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute cluster{};
  if (team.resident) {
    config.dynamicSmemBytes = static_cast<size_t>(bytes);
    // The most there is, not `bytes`: another thread may launch the same kernel for another shape.
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               max_shared_bytes(current_device())),
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
  throw std::runtime_error(
      "stpn on CUDA: there is no closed loop: run the steps one by one, or on the CPU");
}

}  // namespace
}  // namespace stpn::kernels::cuda
