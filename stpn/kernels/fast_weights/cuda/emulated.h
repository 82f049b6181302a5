// The CUDA kernels of Fast Weights on the CPU, a sample after the other, for tests.
#pragma once

#include <vector>

#include "stpn/kernels/cuda/emulation.h"
#include "stpn/kernels/fast_weights/cuda/backward-inl.h"
#include "stpn/kernels/fast_weights/cuda/forward-inl.h"
#include "stpn/kernels/fast_weights/cuda/sums-inl.h"

namespace stpn::kernels::cuda::fast_weights {

// Both read the call's workspace. What would be shared memory is of their own.
template <typename T>
void emulate_forward(const FastWeightsForwardParams<T>& p, const Division& d, uint64_t seed) {
  for (int sample = 0; sample < d.sizes.batch; ++sample) {
    std::vector<T> shared = unwritten<T>(d.forward.resident ? d.forward_memory.end : 0);
    T* memory = d.forward.resident ? shared.data()
                                   : Workspace<T>(p.on_device.workspace, d).forward_team(sample);
    Emulation threads(d.forward.threads * d.forward.blocks, d.forward.lanes, seed + sample);
    threads.run([&](int thread) {
      const EmulatedTeam team(threads, thread);
      ForwardThread<T, EmulatedTeam>(team, p, d.sizes, d.forward, d.forward_memory, memory, sample)
          .run();
    });
  }
}

template <typename T>
void emulate_backward(const FastWeightsBackwardParams<T>& p, const Division& d, uint64_t seed) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  for (int sample = 0; sample < d.sizes.batch; ++sample) {
    std::vector<T> shared = unwritten<T>(d.backward.resident ? d.backward_memory.end : 0);
    T* memory = d.backward.resident ? shared.data() : workspace.backward_team(sample);
    Emulation threads(d.backward.threads * d.backward.blocks, d.backward.lanes, seed + sample);
    threads.run([&](int thread) {
      const EmulatedTeam team(threads, thread);
      BackwardThread<T, EmulatedTeam>(team, p, d.sizes, d.backward, d.backward_memory, memory,
                                      workspace, sample)
          .run();
    });
  }
  Emulation grid(2 * kWarp, 1, seed);
  grid.run([&](int thread) { add_up_gradients(EmulatedTeam(grid, thread), p, workspace); });
}

}  // namespace stpn::kernels::cuda::fast_weights
