// The torch op stpn::fast_weights as C++ calls it. Differentiable once; asking for second
// derivatives throws.
#pragma once

#include <ATen/core/Tensor.h>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/fast_weights/equations.h"

namespace stpn::ops {

// The tensors of stpn/kernels/fast_weights/signature.h, where their shapes stand; undefined where
// absent. Without h and A they are zeros. With layer_norm_weight there is a layer norm. `variant`
// holds the options.
struct FastWeightsCall {
#define FAST_WEIGHTS_TENSOR_FIELD(role, name, shape, given, gradient, meaning) at::Tensor name;
  FAST_WEIGHTS_TENSORS(FAST_WEIGHTS_TENSOR_FIELD)
  at::Tensor reset;  // (T, B) bool, or undefined
  kernels::FastWeightsVariant variant;
  bool energy = false;
  bool final_states = true;  // false: they may be empty
  // Writes x and reset while forward runs. Null: both are complete before the call.
  kernels::ClosedLoop* closed_loop = nullptr;
};

struct FastWeightsResult {
  at::Tensor output;  // (T, B, H); its last step is the final h
  at::Tensor A;       // (B, H, H)
  at::Tensor energy;  // (T, B, H), of slow and fast weights, or empty unless asked for
};

// Throws base::UserError for wrong shapes, dtypes, devices and options.
FastWeightsResult fast_weights(const FastWeightsCall& call);

}  // namespace stpn::ops
