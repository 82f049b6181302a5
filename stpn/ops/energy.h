// The energy of synapses whose weights do not change within a sequence.
#pragma once

#include <ATen/core/Tensor.h>

namespace stpn::ops {

// Returns (T, B, R): the sum over j of measured[j] |W_ij| z_j^2, for `weight` (R, N) and its
// presynaptic inputs `z` (T, B, N). `measured` holds 1 for each input that is counted, else 0; of
// it the first N values are used. Undefined: all inputs are counted. Differentiable.
at::Tensor energy_of_fixed_weights(const at::Tensor& weight, const at::Tensor& z,
                                   const at::Tensor& measured);

// Returns (T, B, H): h[t-1] of each step as the recurrent weights see it, zero after a reset. `h`
// (B, H) is from before the first step, `output` (T, B, H); `reset` (T, B) bool, or undefined.
// Differentiable.
at::Tensor last_activities(const at::Tensor& h, const at::Tensor& output, const at::Tensor& reset);

}  // namespace stpn::ops
