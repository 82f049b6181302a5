// Fast Weights on a GPU: one block of threads, or a cluster of blocks, takes a sample through all
// time steps (layout.h). Forward and backward, in float and double; no closed loop. Sums have a
// fixed order: the same call gives the same bits, on the same kind of GPU.
//
// All pointers of a call are to memory of the current device, those of `on_device` included.
// Kernels are started on its stream; the functions return before they have run.
// Where the project is built without CUDA, they throw (absent.cc).
#pragma once

#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/saved_bound.h"

namespace stpn::kernels {

// Throw std::runtime_error with one line where CUDA reports an error, or where the call has a
// closed loop.
template <typename T>
void fast_weights_forward_cuda(const FastWeightsForwardParams<T>& p);
template <typename T>
void fast_weights_backward_cuda(const FastWeightsBackwardParams<T>& p);

// What forward saves for backward: batch (steps per_step + steps / interval per_checkpoint) values.
SavedBound fast_weights_cuda_saved(const Extent& extent, const FastWeightsVariant& variant);

// Values of T of the workspace that forward or backward needs, on the current device.
template <typename T>
int64_t fast_weights_cuda_workspace(const Extent& extent, const FastWeightsVariant& variant,
                                    bool backward);

}  // namespace stpn::kernels
