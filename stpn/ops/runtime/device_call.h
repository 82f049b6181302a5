// What a kernel on a GPU needs for one call, as torch has it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include <cstdint>

#include "stpn/kernels/sequence_params.h"

namespace stpn::ops {

// While it lives, the device of `like` is the current one.
class DeviceCall {
 public:
  explicit DeviceCall(const at::Tensor& like) : like_(like), device_(like.device()) {}

  // Torch's current stream on that device, and a workspace of so many values. Its memory goes back
  // to torch with this object; torch gives it to later work on the same stream only.
  kernels::OnDevice handles(int64_t workspace);

 private:
  const at::Tensor& like_;
  c10::DeviceGuard device_;
  at::Tensor workspace_;
};

}  // namespace stpn::ops
