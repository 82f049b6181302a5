// The tensors and options of the recurrent networks with fixed weights (stpn/kernels/signature.h
// has the form).
#pragma once

#include <cstdint>

#include "stpn/kernels/signature.h"

namespace stpn::kernels {

STPN_CHOICES(Cell, lstm, gru, rnn);

// R = G H rows, one for each neuron of each of the G gates.
#define FIXED_WEIGHTS_TENSORS(X)                                                    \
  X(input, x, "T B I", required, differentiable, "inputs")                          \
  X(state, h, "B H", required, differentiable, "activity before the first step")    \
  X(state, c, "B H", optional, differentiable, "memory cells of an LSTM")           \
  X(parameter, weight_ih, "R I", required, differentiable, "weights of the inputs") \
  X(parameter, weight_hh, "R H", required, differentiable, "recurrent weights")     \
  X(parameter, bias_ih, "R", required, differentiable, "bias of the input part")    \
  X(parameter, bias_hh, "R", optional, differentiable, "bias of the recurrent part")

#define FIXED_WEIGHTS_OPTIONS(X) X(choice, Cell, cell, lstm, 0, 0, "what a neuron computes")

inline constexpr TensorSpec kFixedWeightsTensors[] = {FIXED_WEIGHTS_TENSORS(STPN_TENSOR_SPEC)};

}  // namespace stpn::kernels
