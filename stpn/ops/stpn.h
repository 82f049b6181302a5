// The torch ops stpn::stpn_recurrent and stpn::stpn_feedforward as C++ calls them. Differentiable
// once; asking for second derivatives throws. Equations and shapes: stpn/kernels/stpn/equations.h.
#pragma once

#include <ATen/core/Tensor.h>

#include "stpn/kernels/closed_loop.h"
#include "stpn/ops/stpn_variant.h"

namespace stpn::nn {

// An undefined tensor is not given. Shapes say part of the variant: weight_lambda and weight_gamma
// are (H, P), (P) or (1); bias_lambda and bias_gamma (H) or (1); with beta there is a plastic bias,
// with layer_norm_weight a layer norm. N is I+H, or I for stpn_feedforward, which has no h and
// takes `connections` and `presynaptic` for nothing.
struct StpnRecurrentCall : StpnVariant {
  at::Tensor x;       // (T, B, I)
  at::Tensor h;       // (B, H); stpn_recurrent only
  at::Tensor F;       // (B, H, P)
  at::Tensor beta;    // (B, H), or none
  at::Tensor weight;  // (H, N)
  at::Tensor bias;    // (H), or none
  at::Tensor weight_lambda, weight_gamma;
  at::Tensor layer_norm_weight, layer_norm_bias;  // (H), or none
  at::Tensor bias_lambda, bias_gamma;             // with beta
  at::Tensor measured;  // (N), 0 or 1: sources that count as energy; none: all
  at::Tensor reset;     // (T, B) bool, or none
  bool energy = false;
  kernels::ClosedLoop* closed_loop =
      nullptr;  // writes x and reset as it goes; null: they are complete
};

struct StpnRecurrentResult {
  at::Tensor output;  // (T, B, H); the last step of stpn_recurrent is its final h
  at::Tensor F;       // (B, H, P)
  at::Tensor beta;    // (B, H), or empty without a plastic bias
  at::Tensor energy;  // (T, B, H), or empty unless asked for
};

// Throws base::UserError for wrong shapes, dtypes, devices and words.
StpnRecurrentResult stpn_recurrent(const StpnRecurrentCall& call);
StpnRecurrentResult stpn_feedforward(const StpnRecurrentCall& call);

}  // namespace stpn::nn
