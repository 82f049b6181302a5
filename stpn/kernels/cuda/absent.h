// What units' CUDA kernels do in a build without CUDA.
#pragma once

#include <stdexcept>

namespace stpn::kernels::cuda {

[[noreturn]] inline void fail_absent() {
  throw std::runtime_error(
      "this build has no CUDA kernels: configure it with -DSTPN_WITH_CUDA=ON, which needs nvcc");
}

}  // namespace stpn::kernels::cuda
