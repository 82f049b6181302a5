#include "stpn/ops/runtime/kernel_device.h"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>
#include <string_view>

#include "stpn/base/config.h"
#include "stpn/base/error.h"

namespace stpn::ops {
namespace {

std::optional<c10::Device> chosen_device;

int gpu_count() {
  if (!at::hasCUDA()) return 0;
  return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).deviceCount();
}

}  // namespace

c10::Device kernel_device_of(const std::string& name) {
  if (name == "cpu") return c10::kCPU;
  constexpr std::string_view kNumbered = "cuda:";
  int64_t number = 0;
  if (name.starts_with(kNumbered)) {
    number = base::parse_integer("--device cuda:N", name.substr(kNumbered.size()), 0, 127);
  } else if (name != "cuda") {
    throw base::UserError(fmt::format(
        "--device is \"{}\": there are cpu, cuda and cuda:N, where N is the number of a GPU",
        name));
  }
  if (!STPN_WITH_CUDA) {
    throw base::UserError(
        fmt::format("--device {}: this build has no kernels for a GPU: configure it with "
                    "-DSTPN_WITH_CUDA=ON (docs/cuda.md)",
                    name));
  }
  const int count = gpu_count();
  if (number >= count) {
    throw base::UserError(fmt::format(
        "--device {}: {}", name,
        count == 0
            ? "torch finds no GPU: see `nvidia-smi`, and whether "
              "torch was installed for CUDA"
            : fmt::format("torch finds {} GPU{}, from cuda:0 on", count, count == 1 ? "" : "s")));
  }
  return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(number)};
}

KernelDeviceGuard::KernelDeviceGuard(c10::Device device) {
  STPN_CHECK(!chosen_device, "units have a device already");
  chosen_device = device;
}

KernelDeviceGuard::~KernelDeviceGuard() { chosen_device.reset(); }

const c10::Device* kernel_device() { return chosen_device ? &*chosen_device : nullptr; }

}  // namespace stpn::ops
