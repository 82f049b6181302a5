// The torch ops stpn::stpn_recurrent and stpn::stpn_feedforward as C++ calls them. Differentiable
// once; asking for second derivatives throws.
#pragma once

#include <ATen/core/Tensor.h>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::ops {

// The tensors of stpn/kernels/stpn/signature.h, where their shapes stand; undefined where absent.
// They say part of the variant: the shapes of weight_lambda and bias_lambda whether rates are one a
// synapse, a presynaptic input, a neuron or one in all; beta, that there is a plastic bias;
// layer_norm_weight, a layer norm. `variant` holds the options; its other fields are not read.
struct StpnCall {
#define STPN_TENSOR_FIELD(role, name, shape, given, gradient, meaning) at::Tensor name;
  STPN_TENSORS(STPN_TENSOR_FIELD)
  at::Tensor reset;  // (T, B) bool, or undefined
  kernels::StpnVariant variant;
  bool energy = false;
  kernels::ClosedLoop* closed_loop =
      nullptr;  // writes x and reset meanwhile; null: they are complete
};

struct StpnResult {
  at::Tensor output;  // (T, B, H); the last step of stpn_recurrent is its final h
  at::Tensor F;       // (B, H, P)
  at::Tensor beta;    // (B, H), or empty without a plastic bias
  at::Tensor energy;  // (T, B, H), or empty unless asked for
};

// Both throw base::UserError for wrong shapes, dtypes, devices and options.
StpnResult stpn_recurrent(const StpnCall& call);
StpnResult stpn_feedforward(const StpnCall& call);

}  // namespace stpn::ops
