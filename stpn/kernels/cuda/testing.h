// How the tests of the units' CUDA kernels divide a call and run it on the CPU.
#pragma once

#include <cstdint>
#include <vector>

#include "stpn/kernels/cuda/emulation.h"
#include "stpn/kernels/cuda/team.h"

namespace stpn::kernels::testing {

// How a call is divided, other than the kernels do.
struct CudaShape {
  int lanes, threads;
  bool resident;
  int interval;
  int blocks = 1;
};
inline constexpr CudaShape kCudaShapes[] = {
    {1, 3, true, 2}, {4, 8, true, 3}, {2, 16, false, 4}, {8, 16, false, 1, 2}};

// Gives the teams of a division (layout.h of the unit) a shape, for matrices of `columns` columns;
// its memories are as before.
template <class Division>
void give_shape(const CudaShape& shape, int columns, Division& d) {
  d.sizes.interval = shape.interval;
  for (cuda::Team* team : {&d.forward, &d.backward}) {
    team->lanes = shape.lanes;
    team->threads = shape.threads;
    team->blocks = shape.blocks;
    team->resident = shape.resident;
    team->row = shape.resident ? columns + 3 : columns;
  }
}

// Everything that a call (stpn/kernels/random_call.h) writes, by its unit's kernels; all memory
// that they are given begins as NaN. `change`: of the backward call.
template <class Call, class Division, typename Change>
auto emulate(const Call& call, const Division& d, const Change& change, uint64_t seed) {
  using T = typename Call::Value;
  const auto size = d.sizes.saved_bound().size(d.sizes.steps, d.sizes.batch);
  std::vector<T> saved = cuda::unwritten<T>(size);
  std::vector<T> workspace;
  return call.run(
      [&](typename Call::Forward& p) {
        p.saved = saved.data();
        workspace = cuda::unwritten<T>(d.forward_workspace());
        p.on_device.workspace = workspace.data();
        emulate_forward(p, d, seed);
      },
      [&](typename Call::Backward& p) {
        workspace = cuda::unwritten<T>(d.backward_workspace());
        p.forward.on_device.workspace = workspace.data();
        change(p);
        emulate_backward(p, d, seed);
      },
      /*save=*/false);
}
template <class Call, class Division>
auto emulate(const Call& call, const Division& d, uint64_t seed = 1) {
  return emulate(
      call, d, [](typename Call::Backward&) {}, seed);
}

}  // namespace stpn::kernels::testing
