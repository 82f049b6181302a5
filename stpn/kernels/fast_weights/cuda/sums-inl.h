// Gradients of the parameters: the sums over all samples, as one thread adds them up. The team here
// is the whole grid.
#pragma once

#include "stpn/kernels/cuda/sums-inl.h"
#include "stpn/kernels/fast_weights/cuda/layout.h"

namespace stpn::kernels::cuda::fast_weights {

template <typename T, class ThisTeam>
STPN_THREAD void add_up_gradients(const ThisTeam& team, const FastWeightsBackwardParams<T>& p,
                                  const Workspace<T>& workspace) {
  const Sizes& s = workspace.d.sizes;
  if (p.grad_weight != nullptr) {
    add_up(team, workspace.weight_sums(0), s.weights(), s.batch, p.grad_weight);
  }
  const bool layer_norm = p.forward.variant.layer_norm;
  T* const vectors[kVectors] = {p.grad_bias, layer_norm ? p.grad_layer_norm_weight : nullptr,
                                layer_norm ? p.grad_layer_norm_bias : nullptr};
  for (int which = 0; which < kVectors; ++which) {
    if (vectors[which] == nullptr) continue;
    add_up(team, workspace.vector_sums(which, 0), int64_t{s.hidden}, s.batch, vectors[which]);
  }
}

}  // namespace stpn::kernels::cuda::fast_weights
