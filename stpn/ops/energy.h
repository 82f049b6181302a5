// The energy of synapses whose weights do not change within a sequence.
#pragma once

#include <ATen/core/Tensor.h>

namespace stpn::ops {

// Returns (T, B, R): the sum over j of measured[j] |W_ij| z_j^2, for `weight` (R, N) and its
// presynaptic inputs `z` (T, B, N). `measured` holds 1 for each input that is counted, else 0; of
// it the first N values are used. Undefined: all inputs are counted. Differentiable.
at::Tensor energy_of_fixed_weights(const at::Tensor& weight, const at::Tensor& z,
                                   const at::Tensor& measured);

}  // namespace stpn::ops
