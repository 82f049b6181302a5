// The legend of every shape in the kernels. Row-major, last dimension fastest.
#pragma once

#include <cstdint>

namespace stpn::kernels {

struct Extent {
  int64_t steps = 0;   // T, time steps
  int64_t batch = 0;   // B, samples
  int64_t inputs = 0;  // I, inputs a step
  int64_t hidden = 0;  // H, units
};

}  // namespace stpn::kernels
