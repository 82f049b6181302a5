// Recurrent networks with fixed weights, LSTM, GRU and RNN, in autograd's graph: for the units in
// C++, without an op of torch's dispatcher. (From Python there are torch.nn.LSTM and its like.)
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/fixed_weights/signature.h"

namespace stpn::ops {

// The tensors of kernels/fixed_weights/signature.h, of one float type, on the CPU. Undefined: c,
// unless it is an LSTM; bias_hh, if it is absent; reset (T, B) bool, if there are none.
struct FixedWeightsCall {
  kernels::Cell cell = kernels::Cell::lstm;
  at::Tensor x, h, c, weight_ih, weight_hh, bias_ih, bias_hh;
  at::Tensor reset;
  // Writes x and reset, which have to be contiguous then, while the sequence runs.
  kernels::ClosedLoop* closed_loop = nullptr;
};

// Returns h[0] .. h[T-1] (T, B, H), h (B, H) after the last step and, of an LSTM, c (B, H). All are
// differentiable once. The caller has checked the shapes. Throws base::UserError for tensors with a
// tangent, because forward-mode differentiation is not implemented.
std::vector<at::Tensor> run_fixed_weights(const FixedWeightsCall& call);

}  // namespace stpn::ops
