#include "stpn/ops/fixed_weights.h"

namespace stpn::nn {

torch::Tensor normalised_rows(const torch::Tensor& weight) {
  return weight / (at::linalg_vector_norm(weight, 2, 1, /*keepdim=*/true) + 1e-16);
}

torch::Tensor energy_of_fixed_weights(const torch::Tensor& weight, const torch::Tensor& z,
                                      const torch::Tensor& measured) {
  torch::NoGradGuard no_grad;
  auto power = z.square();
  if (measured.defined()) power *= measured.slice(0, 0, z.size(-1)).to(z.scalar_type());
  return power.matmul(weight.abs().t());
}

}  // namespace stpn::nn
