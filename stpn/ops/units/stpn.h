// The torch ops stpn::stpn_recurrent and stpn::stpn_feedforward as C++ calls them. Differentiable
// once; asking for second derivatives throws.
#pragma once

#include <ATen/core/Tensor.h>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::ops {

// The tensors of stpn/kernels/stpn/signature.h, where their shapes stand; undefined where absent.
// Without h and F they are zeros. Part of the variant follows from them: from the shapes of
// weight_lambda and bias_lambda, whether there is one rate per synapse, per presynaptic input or
// per neuron, or a single one; there is a plastic bias if beta is defined, a layer norm if
// layer_norm_weight is, and a gate if its weight is. `variant` holds the options; its other fields
// are not read.
struct StpnCall {
#define STPN_TENSOR_FIELD(role, name, shape, given, gradient, meaning) at::Tensor name;
  STPN_TENSORS(STPN_TENSOR_FIELD)
  at::Tensor reset;  // (T, B) bool, or undefined
  kernels::StpnVariant variant;
  bool energy = false;
  bool final_states = true;  // false: they may be empty
  // Writes x and reset while forward runs. Null: both are complete before the call.
  kernels::ClosedLoop* closed_loop = nullptr;
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
