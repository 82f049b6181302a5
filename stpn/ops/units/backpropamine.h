// The torch op stpn::backpropamine as C++ calls it. Differentiable once; asking for second
// derivatives throws.
#pragma once

#include <ATen/core/Tensor.h>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/closed_loop.h"

namespace stpn::ops {

// The tensors of stpn/kernels/backpropamine/signature.h, where their shapes stand; undefined where
// absent. Without h and P they are zeros. Which of them there have to be depends on the
// neuromodulation.
struct BackpropamineCall {
#define BACKPROPAMINE_TENSOR_FIELD(role, name, shape, given, gradient, meaning) at::Tensor name;
  BACKPROPAMINE_TENSORS(BACKPROPAMINE_TENSOR_FIELD)
  at::Tensor reset;  // (T, B) bool, or undefined
  kernels::BackpropamineVariant variant;
  bool energy = false;
  bool final_states = true;  // false: they may be empty
  // Writes x and reset while forward runs. Null: both are complete before the call.
  kernels::ClosedLoop* closed_loop = nullptr;
};

struct BackpropamineResult {
  at::Tensor output;  // (T, B, H); its last step is the final h
  at::Tensor P;       // (B, H, H)
  at::Tensor E;       // (B, H, H), or empty without a trace
  at::Tensor energy;  // (T, B, H), of input and recurrent synapses, or empty unless asked for
};

// Throws base::UserError for wrong shapes, dtypes, devices and options.
BackpropamineResult backpropamine(const BackpropamineCall& call);

}  // namespace stpn::ops
