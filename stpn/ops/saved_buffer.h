// Memory for what a forward pass keeps for backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace stpn::nn {

// Unwritten, (count). A large block that was let go is held, one in all, for the next call that it
// fits: what a sequence keeps is hundreds of megabytes, iteration after iteration, and given back
// to the system in between each of its pages would be faulted in and zeroed anew. What is tens of
// kilobytes is held too: to allocate it takes longer than to look here.
at::Tensor saved_buffer(int64_t count, const at::TensorOptions& options);

}  // namespace stpn::nn
