#include "stpn/nn/initialisation.h"

#include <cmath>

#include "stpn/base/random.h"

namespace stpn::nn {
namespace {

// Fills the tensor with the values that `draw` returns one after the other.
template <typename Draw>
void fill(torch::Tensor& tensor, uint64_t seed, uint64_t index, Draw draw) {
  torch::NoGradGuard no_grad;
  base::Random random(seed, base::Stream::parameters, index);
  // Drawn in double whatever the dtype, so a float unit has the rounded values of the double one.
  auto values = torch::empty(tensor.sizes(), torch::kDouble);
  auto* value = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) value[i] = draw(random);
  tensor.copy_(values);
}

}  // namespace

void uniform_(torch::Tensor tensor, double low, double high, uint64_t seed, uint64_t index) {
  fill(tensor, seed, index, [&](base::Random& random) { return random.uniform(low, high); });
}

void normal_(torch::Tensor tensor, double standard_deviation, uint64_t seed, uint64_t index) {
  fill(tensor, seed, index,
       [&](base::Random& random) { return standard_deviation * random.normal(); });
}

void reset_layer(const torch::Tensor& weight, const torch::Tensor& bias, Initialisation from,
                 double bound, uint64_t seed, uint64_t index) {
  if (from == Initialisation::normal) {
    normal_(weight, 1 / std::sqrt(static_cast<double>(weight.size(1))), seed, index);
    if (bias.defined()) normal_(bias, 1, seed, index + 1);
    return;
  }
  uniform_(weight, -bound, bound, seed, index);
  if (bias.defined()) uniform_(bias, -bound, bound, seed, index + 1);
}

void reset_head(const torch::Tensor& weight, const torch::Tensor& bias, uint64_t seed,
                uint64_t index, Initialisation from) {
  reset_layer(weight, bias, from, 1 / std::sqrt(static_cast<double>(weight.size(1))), seed, index);
}

}  // namespace stpn::nn
