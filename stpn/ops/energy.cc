#include "stpn/ops/energy.h"

#include <ATen/ATen.h>

namespace stpn::ops {

at::Tensor energy_of_fixed_weights(const at::Tensor& weight, const at::Tensor& z,
                                   const at::Tensor& measured) {
  at::Tensor power = z.square();
  if (measured.defined()) power = power * measured.slice(0, 0, z.size(-1)).to(z.scalar_type());
  return power.matmul(weight.abs().t());
}

at::Tensor last_activities(const at::Tensor& h, const at::Tensor& output, const at::Tensor& reset) {
  const at::Tensor first = h.defined() ? h.unsqueeze(0) : at::zeros_like(output.slice(0, 0, 1));
  const at::Tensor last = at::cat({first, output.slice(0, 0, -1)});
  return reset.defined() ? last.masked_fill(reset.unsqueeze(2), 0) : last;
}

}  // namespace stpn::ops
