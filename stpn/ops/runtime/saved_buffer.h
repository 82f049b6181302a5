// Memory for what a forward pass saves for backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace stpn::ops {

// Returns an uninitialised tensor (count). On the CPU, when a tensor of 64 KiB or more is freed,
// its memory is cached for the next call that it fits; only one is cached at a time. What a
// sequence saves can be hundreds of megabytes in every iteration: if that went back to the system
// in between, each page would be faulted in and zeroed again.
at::Tensor saved_buffer(int64_t count, const at::TensorOptions& options);

}  // namespace stpn::ops
