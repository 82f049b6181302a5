// Inputs that depend on outputs: the callback through which, for example, an environment receives
// the outputs of a time step and provides the inputs of the next one.
#pragma once

#include <cstdint>

namespace stpn::kernels {

class ClosedLoop {
 public:
  virtual ~ClosedLoop() = default;

  // The forward pass calls this after it has written the outputs of step t for samples [first,
  // first + count) and before it reads anything of their step t+1, so the implementation may write
  // the inputs x and the reset marks of step t+1 for these samples.
  //   h   in  (count, H), dense: the outputs h[t] of these samples, valid during the call
  // For one sample the calls come in the order of t; for different samples they come in any order,
  // possibly at the same time from several threads. Of the two functions, the one whose type is
  // that of the inputs is called. During the call CPU kernels have denormals flushed to zero. An
  // exception thrown here ends the forward pass and reaches its caller.
  virtual void after_step(int64_t t, int64_t first, int64_t count, const float* h) = 0;
  virtual void after_step(int64_t t, int64_t first, int64_t count, const double* h) = 0;
};

}  // namespace stpn::kernels
