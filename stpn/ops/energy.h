// The energy of synapses whose weights do not change within a sequence.
#pragma once

#include <ATen/core/Tensor.h>

namespace stpn::ops {

// (T, B, R): the sum over j of measured[j] |W_ij| z_j^2, of `weight` (R, N) and what reaches its
// synapses, `z` (T, B, N). `measured` holds 0 or 1 for each input, the first N count; undefined:
// all do. Not differentiable.
at::Tensor energy_of_fixed_weights(const at::Tensor& weight, const at::Tensor& z,
                                   const at::Tensor& measured);

}  // namespace stpn::ops
