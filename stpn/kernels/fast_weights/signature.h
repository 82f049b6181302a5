// The tensors and options of Fast Weights (stpn/kernels/signature.h has the form).
#pragma once

#include <cstdint>

#include "stpn/kernels/signature.h"

namespace stpn::kernels {

// N = I + H.
#define FAST_WEIGHTS_TENSORS(X)                                                            \
  X(input, x, "T B I", required, differentiable, "inputs")                                 \
  X(activity, h, "B H", nullable, differentiable, "activity before the first step")        \
  X(state, A, "B H H", nullable, differentiable, "fast weights")                           \
  X(parameter, weight, "H N", required, differentiable, "W: inputs first, then recurrent") \
  X(parameter, bias, "H", required, differentiable, "b")                                   \
  X(parameter, layer_norm_weight, "H", optional, differentiable, "layer norm: gain")       \
  X(parameter, layer_norm_bias, "H", optional, differentiable, "layer norm: offset")       \
  X(op_input, measured, "N", optional, constant,                                           \
    "energy of W: 1 for presynaptic inputs that count, 0 for others")

#define FAST_WEIGHTS_OPTIONS(X)                                                \
  X(integer, int64_t, inner_steps, 1, 1, 1000,                                 \
    "how often the fast weights act within a step; cost grows with it")        \
  X(number, double, decay, 0.9, 0, 1,                                          \
    "what stays of the fast weights at each step, fixed; less forgets sooner") \
  X(number, double, rate, 0.5, -1e3, 1e3, "how much of each activity the fast weights learn, fixed")

inline constexpr TensorSpec kFastWeightsTensors[] = {FAST_WEIGHTS_TENSORS(STPN_TENSOR_SPEC)};
inline constexpr OptionSpec kFastWeightsOptions[] = {FAST_WEIGHTS_OPTIONS(STPN_OPTION_SPEC)};
inline constexpr Signature kFastWeights{
    "fast_weights", kFastWeightsTensors, kFastWeightsOptions, {}};

}  // namespace stpn::kernels
