#include "stpn/ops/runtime/device_call.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace stpn::ops {

kernels::OnDevice DeviceCall::handles(int64_t workspace) {
  const c10::impl::VirtualGuardImpl streams(like_.device().type());
  workspace_ = at::empty({workspace}, like_.options().requires_grad(false));
  return {streams.getStream(like_.device()).native_handle(), workspace_.data_ptr()};
}

}  // namespace stpn::ops
