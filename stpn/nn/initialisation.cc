#include "stpn/nn/initialisation.h"

#include <cmath>

#include "stpn/base/random.h"

namespace stpn::nn {

void uniform_(torch::Tensor tensor, double low, double high, uint64_t seed, uint64_t index) {
  torch::NoGradGuard no_grad;
  base::Random random(seed, base::Stream::parameters, index);
  // Drawn in double whatever the dtype, so a float unit has the rounded values of the double one.
  auto values = torch::empty(tensor.sizes(), torch::kDouble);
  auto* value = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) value[i] = random.uniform(low, high);
  tensor.copy_(values);
}

void reset_head(const torch::Tensor& weight, const torch::Tensor& bias, uint64_t seed,
                uint64_t index) {
  const double bound = 1 / std::sqrt(static_cast<double>(weight.size(1)));
  uniform_(weight, -bound, bound, seed, index);
  uniform_(bias, -bound, bound, seed, index + 1);
}

}  // namespace stpn::nn
