#include "stpn/nn/library/normalised_rows.h"

namespace stpn::nn {

torch::Tensor normalised_rows(const torch::Tensor& weight) {
  return weight / (at::linalg_vector_norm(weight, 2, 1, /*keepdim=*/true) + 1e-16);
}

}  // namespace stpn::nn
