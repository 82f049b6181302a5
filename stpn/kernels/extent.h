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

// The size that a letter of a signature's shapes stands for (stpn/kernels/signature.h); 1 for "1".
inline int64_t size_of(char letter, const Extent& extent) {
  switch (letter) {
    case 'T':
      return extent.steps;
    case 'B':
      return extent.batch;
    case 'I':
      return extent.inputs;
    case 'H':
      return extent.hidden;
    default:
      return 1;
  }
}

}  // namespace stpn::kernels
