// Backpropamine's tensors and options (stpn/kernels/signature.h has the form).
#pragma once

#include "stpn/kernels/signature.h"

namespace stpn::kernels {

STPN_CHOICES(Neuromodulation, modplast, plastic, modul);
STPN_CHOICES(Addition, clamp, soft_clamp, additive, decaying);
STPN_CHOICES(Modulator, tanh, sigmoid, linear);

#define BACKPROPAMINE_TENSORS(X)                                                             \
  X(input, x, "T B I", required, differentiable, "inputs")                                   \
  X(activity, h, "B H", nullable, differentiable, "activity before the first step")          \
  X(state, P, "B H H", nullable, differentiable, "plastic part of the recurrent synapses")   \
  X(parameter, weight_ih, "H I", required, differentiable, "W_i")                            \
  X(parameter, bias, "H", required, differentiable, "b_i")                                   \
  X(parameter, weight_hh, "H H", required, differentiable, "w")                              \
  X(parameter, alpha, "H H", required, differentiable, "alpha, how much of P acts")          \
  X(state, E, "B H H", optional, differentiable, "eligibility trace; neuromodulation modul") \
  X(parameter, modulator_weight, "H", optional, differentiable,                              \
    "modulator; neuromodulation modplast and modul")                                         \
  X(parameter, modulator_bias, "1", optional, differentiable,                                \
    "modulator; neuromodulation modplast and modul")                                         \
  X(parameter, rate, "1", optional, differentiable,                                          \
    "learned rate; neuromodulation plastic and modul")                                       \
  X(op_input, measured, "I", optional, constant, "energy: 1 for inputs that count, 0 for others")

#define BACKPROPAMINE_OPTIONS(X)                                                               \
  X(choice, Neuromodulation, neuromodulation, modplast, 0, 0,                                  \
    "what writes the plastic part: a modulator computed from the activity (modplast), a "      \
    "learned constant (plastic), or the modulator by way of an eligibility trace, which "      \
    "bridges delays (modul)")                                                                  \
  X(choice, Addition, addition, clamp, 0, 0,                                                   \
    "how it is written: with a hard bound (clamp), a soft one (soft_clamp), none (additive), " \
    "or in place of what is there (decaying)")                                                 \
  X(choice, Modulator, modulator, tanh, 0, 0,                                                  \
    "activation function of the modulator; unused with plastic")

inline constexpr TensorSpec kBackpropamineTensors[] = {BACKPROPAMINE_TENSORS(STPN_TENSOR_SPEC)};
inline constexpr OptionSpec kBackpropamineOptions[] = {BACKPROPAMINE_OPTIONS(STPN_OPTION_SPEC)};
inline constexpr Signature kBackpropamine{
    "backpropamine", kBackpropamineTensors, kBackpropamineOptions, {}};

}  // namespace stpn::kernels
