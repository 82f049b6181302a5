// The memory of the gated delta rule in autograd's graph: for the unit in C++, without an op of
// torch's dispatcher. The equations are in stpn/kernels/gated_delta/equations.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace stpn::ops {

// Of one float type, on the CPU. T steps, M memories: the heads of all samples, those of a sample
// side by side.
struct GatedDeltaInputs {
  at::Tensor query, key;    // (T, M, K)
  at::Tensor value;         // (T, M, V)
  at::Tensor decay, write;  // (T, M)
  at::Tensor state;         // (M, V, K)
  // (T, samples) bool, where M is a multiple of samples; undefined: no resets.
  at::Tensor reset = {};
};

struct GatedDeltaOutputs {
  at::Tensor read;    // (T, M, V)
  at::Tensor state;   // (M, V, K)
  at::Tensor energy;  // (T, M, V); undefined unless asked for
};

// Differentiable once in all inputs but the reset. The same bits for any number of threads, with
// and without energy. Throws base::UserError for tensors of other shapes or types, and for ones
// with a tangent, because forward-mode differentiation is not implemented.
GatedDeltaOutputs run_gated_delta(const GatedDeltaInputs& inputs, bool energy);

}  // namespace stpn::ops
