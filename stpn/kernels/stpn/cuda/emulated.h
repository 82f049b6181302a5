// The STPN's CUDA kernels on the CPU, a sample after the other, for tests.
#pragma once

#include <limits>
#include <vector>

#include "stpn/kernels/cuda/emulation.h"
#include "stpn/kernels/stpn/cuda/backward-inl.h"
#include "stpn/kernels/stpn/cuda/forward-inl.h"
#include "stpn/kernels/stpn/cuda/sums-inl.h"

namespace stpn::kernels::cuda::stpn_unit {

// Both read the call's workspace. What would be shared memory is of their own.
template <typename T>
void emulate_forward(const StpnForwardParams<T>& p, const Division& d, uint64_t seed) {
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
void emulate_backward(const StpnBackwardParams<T>& p, const Division& d, uint64_t seed) {
  const Sizes& s = d.sizes;
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  for (int sample = 0; sample < s.batch; ++sample) {
    std::vector<T> shared = unwritten<T>(d.backward.resident ? d.backward_memory.end : 0);
    T* memory = d.backward.resident ? shared.data() : workspace.backward_team(sample);
    Emulation threads(d.backward.threads * d.backward.blocks, d.backward.lanes, seed + sample);
    threads.run([&](int thread) {
      const EmulatedTeam team(threads, thread);
      BackwardThread<T, EmulatedTeam>(team, p, s, d.backward, d.backward_memory, memory,
                                      workspace.recomputed(sample), workspace.sums(sample), sample)
          .run();
    });
  }
  Emulation grid(2 * kWarp, lanes_of_rate(p.forward.variant), seed);
  grid.run([&](int thread) {
    const EmulatedTeam team(grid, thread);
    add_up(team, workspace.sums(0), s.sums(), s.batch, workspace.totals());
    team.sync();
    GradientsThread<T, EmulatedTeam>(team, p, s, workspace.totals()).run();
  });
}

}  // namespace stpn::kernels::cuda::stpn_unit
