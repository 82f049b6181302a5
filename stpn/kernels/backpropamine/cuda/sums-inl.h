// Gradients of the parameters: sums over all samples, as one thread does it. The team here is the
// whole grid.
#pragma once

#include "stpn/kernels/backpropamine/cuda/layout.h"
#include "stpn/kernels/cuda/sums-inl.h"

namespace stpn::kernels::cuda::backpropamine {

template <typename T, class ThisTeam>
STPN_THREAD void add_up_gradients(const ThisTeam& team, const BackpropamineBackwardParams<T>& p,
                                  const Division& d) {
  const Workspace<T> workspace(p.forward.on_device.workspace, d);
  T* const gradients[kSums] = {
      p.grad_weight_ih,        p.grad_weight_hh,      p.grad_alpha, p.grad_bias,
      p.grad_modulator_weight, p.grad_modulator_bias, p.grad_rate,
  };
  STPN_UNROLL
  for (int k = 0; k < kSums; ++k) {
    if (gradients[k] == nullptr) continue;
    add_up(team, workspace.sum(k, 0), d.sizes.sum_size(k), d.sizes.batch, gradients[k]);
  }
}

}  // namespace stpn::kernels::cuda::backpropamine
