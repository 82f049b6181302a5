// Where units run whose tensors are on the CPU: there, or on a GPU.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace stpn::ops {

// "cpu", "cuda" or "cuda:1". Throws base::UserError for another name, for a GPU in a build without
// CUDA kernels, and if there is no such GPU.
c10::Device kernel_device_of(const std::string& name);

// While an object of this class exists, units run on its device, whatever the thread: their tensors
// are copied there, and the results back, with autograd's knowledge. A single step stays on the
// CPU, and so does a closed loop, because what answers each step is there. If the loop's results
// are to be differentiated, its whole sequence runs again, on the device. At most one object at a
// time.
class KernelDeviceGuard {
 public:
  explicit KernelDeviceGuard(c10::Device device);
  ~KernelDeviceGuard();
  KernelDeviceGuard(const KernelDeviceGuard&) = delete;
  KernelDeviceGuard& operator=(const KernelDeviceGuard&) = delete;
};

// Null without a guard.
const c10::Device* kernel_device();

}  // namespace stpn::ops
