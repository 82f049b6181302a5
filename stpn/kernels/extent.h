// The sizes of a call. The letters T, B, I and H in the shapes of all kernels refer to them; arrays
// are row-major and dense, the last dimension contiguous.
#pragma once

#include <cstdint>

namespace stpn::kernels {

struct Extent {
  int64_t steps = 0;   // T, time steps
  int64_t batch = 0;   // B, samples of the batch
  int64_t inputs = 0;  // I, input features
  int64_t hidden = 0;  // H, neurons
};

}  // namespace stpn::kernels
