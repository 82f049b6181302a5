// The torch op stpn::fast_weights as C++ calls it. Differentiable once; asking for second
// derivatives throws. Equations: stpn/kernels/fast_weights/equations.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "stpn/kernels/closed_loop.h"

namespace stpn::nn {

// An undefined tensor is not given. With layer_norm_weight there is a layer norm.
struct FastWeightsCall {
  at::Tensor x;                                   // (T, B, I)
  at::Tensor h;                                   // (B, H)
  at::Tensor A;                                   // (B, H, H)
  at::Tensor weight;                              // (H, I+H)
  at::Tensor bias;                                // (H)
  at::Tensor layer_norm_weight, layer_norm_bias;  // (H), or none
  at::Tensor measured;  // (I+H), 0 or 1: sources that count as energy of `weight`; none: all
  at::Tensor reset;     // (T, B) bool, or none
  int64_t inner_steps = 1;
  double decay = 0.9;
  double rate = 0.5;
  bool energy = false;
  kernels::ClosedLoop* closed_loop =
      nullptr;  // writes x and reset as it goes; null: they are complete
};

struct FastWeightsResult {
  at::Tensor output;  // (T, B, H); its last step is the final h
  at::Tensor A;       // (B, H, H)
  at::Tensor energy;  // (T, B, H), of slow and fast weights, or empty unless asked for
};

// Throws base::UserError for wrong shapes, dtypes, devices and numbers.
FastWeightsResult fast_weights(const FastWeightsCall& call);

}  // namespace stpn::nn
