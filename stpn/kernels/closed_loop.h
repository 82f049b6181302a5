// What answers the outputs of a unit with its next inputs: an environment, and who acts in it.
#pragma once

#include <cstdint>

namespace stpn::kernels {

class ClosedLoop {
 public:
  virtual ~ClosedLoop() = default;

  // Forward calls it when the outputs of step t are written for samples [first, first + count), and
  // before it reads anything of their step t+1: inputs and reset marks may be written now. The
  // calls for a sample come in the order of t; those for other samples at any time, on any thread.
  // CPU kernels flush denormals meanwhile. It may throw; forward then throws it on.
  //   h   in  (count, H), dense, of the inputs' type: the other function is not called
  virtual void after_step(int64_t t, int64_t first, int64_t count, const float* h) = 0;
  virtual void after_step(int64_t t, int64_t first, int64_t count, const double* h) = 0;
};

}  // namespace stpn::kernels
