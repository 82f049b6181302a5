// The teams of threads of the CUDA kernels: how large they are. Arithmetic only; nothing of CUDA.
//
// A team of threads takes one sample through all its time steps. Usually it is one block, and the
// matrices that it works on are in the block's shared memory: the team is resident. Where they do
// not fit, they are in global memory, from which they are streamed through the second-level cache;
// the team is then a cluster of blocks. In a team a group of threads, its lanes, has a row of the
// matrices at a time: rows `group`, `group + groups` ...; in a row a lane has every lanes-th
// column. A thread always has the same synapses, so that only what crosses rows needs a barrier.
#pragma once

#include <cstdint>

#include "stpn/kernels/host_device.h"

#if defined(__CUDACC__)
#define STPN_THREAD __device__ __forceinline__
#define STPN_UNROLL _Pragma("unroll")
#define STPN_UNROLL_4 _Pragma("unroll 4")
#else
#define STPN_THREAD inline
#define STPN_UNROLL
#define STPN_UNROLL_4
#endif

namespace stpn::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kMaxThreads = 512;  // of a block

// Steps between checkpoints of a sample's matrices.
inline int checkpoint_interval(int64_t synapses) { return synapses <= 16 * 1024 ? 16 : 4; }

// The machine that a call is divided for: bytes of shared memory that a block may have, and blocks
// that a cluster may have (1: there are no clusters).
struct Machine {
  int64_t shared_bytes = 99 * 1024;  // of every GPU since compute capability 8.6
  int max_cluster = 1;
  int processors = 108;
};

// How many threads a team has, and where its memory is.
struct Team {
  // One block, resident, for matrices of `rows` rows of at most `columns` columns.
  static Team resident_for(int rows, int columns) {
    Team team{};
    team.lanes = columns <= 96 ? 8 : columns <= 192 ? 16 : kWarp;
    const int64_t wanted = int64_t{rows} * team.lanes;
    team.threads = wanted >= kMaxThreads ? kMaxThreads
                                         : static_cast<int>((wanted + kWarp - 1) / kWarp) * kWarp;
    team.blocks = 1;
    team.resident = true;
    team.row = team.padded(columns);
    return team;
  }

  // Values from one row of a matrix of so many columns to the next: rows that a warp reads together
  // begin in different banks.
  int padded(int columns) const {
    const int wanted = (columns + lanes - 1) / lanes * lanes;
    return lanes < kWarp && wanted / lanes % 2 == 0 ? wanted + lanes : wanted;
  }

  // If `bytes` of memory do not fit in a block: streamed, by more blocks while there are processors
  // for those of all samples, and rows for their groups.
  void place(int64_t bytes, int rows, int columns, int64_t batch, const Machine& machine) {
    if (bytes <= machine.shared_bytes) return;
    resident = false;
    row = columns;
    while (2 * blocks <= machine.max_cluster && 2 * blocks * batch <= machine.processors &&
           groups() < rows) {
      blocks *= 2;
    }
  }

  STPN_HOST_DEVICE int groups() const { return threads * blocks / lanes; }

  int lanes;    // threads of a row: a power of two, at most a warp
  int threads;  // of a block
  int blocks;   // of the team
  bool resident;
  int row;  // values from one row of a matrix to the next, in the team's memory
};

}  // namespace stpn::kernels::cuda
