// Memory for what a forward pass saves for backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace stpn::ops {

// An unwritten tensor (count). When it is freed, a buffer of 64 KiB or more stays here for the next
// call that it fits; one buffer in all. What a sequence saves can be hundreds of megabytes in every
// iteration: given back to the system in between, each of its pages would be faulted in and zeroed
// anew. For tens of kilobytes, allocation would take longer than the look-up here.
at::Tensor saved_buffer(int64_t count, const at::TensorOptions& options);

}  // namespace stpn::ops
