// The STPN's CUDA kernels on the CPU, a sample after the other, for tests.
#pragma once

#include <limits>
#include <vector>

#include "stpn/kernels/stpn/cuda/backward-inl.h"
#include "stpn/kernels/stpn/cuda/emulation.h"
#include "stpn/kernels/stpn/cuda/forward-inl.h"
#include "stpn/kernels/stpn/cuda/sums-inl.h"

namespace stpn::kernels::cuda {

// All memory that the kernels write before they read begins as NaN.
template <typename T>
std::vector<T> unwritten(int64_t count) {
  return std::vector<T>(static_cast<size_t>(count), std::numeric_limits<T>::quiet_NaN());
}

template <typename T>
void emulate_forward(const StpnForwardParams<T>& p, const Division& d, uint64_t seed) {
  for (int sample = 0; sample < d.sizes.batch; ++sample) {
    std::vector<T> memory = unwritten<T>(d.forward_memory.end);
    Emulation threads(d.forward.threads * d.forward.blocks, d.forward.lanes, seed + sample);
    threads.run([&](int thread) {
      const EmulatedTeam team(threads, thread);
      ForwardThread<T, EmulatedTeam>(team, p, d.sizes, d.forward, d.forward_memory, memory.data(),
                                     sample)
          .run();
    });
  }
}

template <typename T>
void emulate_backward(const StpnBackwardParams<T>& p, const Division& d, uint64_t seed) {
  const Sizes& s = d.sizes;
  std::vector<T> sums = unwritten<T>(s.batch * s.sums());
  std::vector<T> totals = unwritten<T>(s.sums());
  for (int sample = 0; sample < s.batch; ++sample) {
    std::vector<T> memory = unwritten<T>(d.backward_memory.end);
    std::vector<T> recomputed = unwritten<T>(d.recomputed());
    Emulation threads(d.backward.threads * d.backward.blocks, d.backward.lanes, seed + sample);
    threads.run([&](int thread) {
      const EmulatedTeam team(threads, thread);
      BackwardThread<T, EmulatedTeam>(team, p, s, d.backward, d.backward_memory, memory.data(),
                                      recomputed.data(), sums.data() + sample * s.sums(), sample)
          .run();
    });
  }
  Emulation grid(2 * Division::kWarp, lanes_of_rate(p.forward.variant), seed);
  grid.run([&](int thread) {
    const EmulatedTeam team(grid, thread);
    add_up(team, sums.data(), s.sums(), s.batch, totals.data());
    team.sync();
    GradientsThread<T, EmulatedTeam>(team, p, s, totals.data()).run();
  });
}

}  // namespace stpn::kernels::cuda
