// The CUDA kernels of Fast Weights on the CPU, a sample after the other, for tests.
#pragma once

#include "stpn/kernels/cuda/emulation.h"
#include "stpn/kernels/fast_weights/cuda/backward-inl.h"
#include "stpn/kernels/fast_weights/cuda/forward-inl.h"
#include "stpn/kernels/fast_weights/cuda/sums-inl.h"

namespace stpn::kernels::cuda::fast_weights {

// Both read the call's workspace.
template <typename T>
void emulate_forward(const FastWeightsForwardParams<T>& p, const Division& d, uint64_t seed) {
  const Workspace<T> workspace(p.on_device.workspace, d);
  emulate_teams<T>(
      d.forward, d.forward_memory.end, d.sizes.batch, seed,
      [&](int sample) { return workspace.forward_team(sample); },
      [&](const EmulatedTeam& team, T* memory, int sample) {
        ForwardThread<T, EmulatedTeam>(team, p, d.sizes, d.forward, d.forward_memory, memory,
                                       sample)
            .run();
      });
}

template <typename T>
void emulate_backward(const FastWeightsBackwardParams<T>& p, const Division& d, uint64_t seed) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  emulate_teams<T>(
      d.backward, d.backward_memory.end, d.sizes.batch, seed,
      [&](int sample) { return workspace.backward_team(sample); },
      [&](const EmulatedTeam& team, T* memory, int sample) {
        BackwardThread<T, EmulatedTeam>(team, p, d.sizes, d.backward, d.backward_memory, memory,
                                        workspace, sample)
            .run();
      });
  Emulation grid(2 * kWarp, 1, seed);
  grid.run([&](int thread) { add_up_gradients(EmulatedTeam(grid, thread), p, workspace); });
}

}  // namespace stpn::kernels::cuda::fast_weights
