// The STPN's CUDA kernels on the CPU, a sample after the other, for tests.
#pragma once

#include "stpn/kernels/cuda/emulation.h"
#include "stpn/kernels/stpn/cuda/backward-inl.h"
#include "stpn/kernels/stpn/cuda/forward-inl.h"
#include "stpn/kernels/stpn/cuda/sums-inl.h"

namespace stpn::kernels::cuda::stpn_unit {

// Both read the call's workspace.
template <typename T>
void emulate_forward(const StpnForwardParams<T>& p, const Division& d, uint64_t seed) {
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
void emulate_backward(const StpnBackwardParams<T>& p, const Division& d, uint64_t seed) {
  const Sizes& s = d.sizes;
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  emulate_teams<T>(
      d.backward, d.backward_memory.end, d.sizes.batch, seed,
      [&](int sample) { return workspace.backward_team(sample); },
      [&](const EmulatedTeam& team, T* memory, int sample) {
        BackwardThread<T, EmulatedTeam>(team, p, s, d.backward, d.backward_memory, memory,
                                        workspace.recomputed(sample), workspace.sums(sample),
                                        sample)
            .run();
      });
  Emulation grid(2 * kWarp, lanes_of_rate(p.forward.variant), seed);
  grid.run([&](int thread) {
    const EmulatedTeam team(grid, thread);
    add_up(team, workspace.sums(0), s.sums(), s.batch, workspace.totals());
    team.sync();
    GradientsThread<T, EmulatedTeam>(team, p, s, workspace.totals()).run();
  });
}

}  // namespace stpn::kernels::cuda::stpn_unit
