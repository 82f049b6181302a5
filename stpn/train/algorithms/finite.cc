#include "stpn/train/algorithms/finite.h"

#include <algorithm>

namespace stpn::train {
namespace {

template <typename T>
bool all_finite(const torch::Tensor& tensor) {
  const torch::Tensor dense = tensor.contiguous();
  const T* values = dense.const_data_ptr<T>();
  constexpr int64_t kChains = 16;  // sums that do not wait for each other
  T zeros[kChains] = {};           // NaN if a value is not finite
  const int64_t whole = dense.numel() / kChains * kChains;
  for (int64_t k = 0; k < whole; k += kChains) {
    for (int64_t chain = 0; chain < kChains; ++chain) zeros[chain] += T(0) * values[k + chain];
  }
  for (int64_t k = whole; k < dense.numel(); ++k) zeros[0] += T(0) * values[k];
  return std::all_of(zeros, zeros + kChains, [](T zero) { return zero == T(0); });
}

bool all_finite(const torch::Tensor& tensor) {
  return tensor.scalar_type() == torch::kFloat ? all_finite<float>(tensor)
                                               : all_finite<double>(tensor);
}

}  // namespace

std::string find_not_finite(const torch::nn::Module& model, const Adam* adam) {
  for (const auto& parameter : model.named_parameters()) {
    if (!all_finite(parameter.value())) return parameter.key();
  }
  if (adam == nullptr) return "";
  const std::string mean = find_not_finite(model, adam->mean());
  if (!mean.empty()) return "adam.mean." + mean;
  const std::string square = find_not_finite(model, adam->square());
  return square.empty() ? "" : "adam.square." + square;
}

std::string find_not_finite(const torch::nn::Module& model,
                            const std::vector<torch::Tensor>& gradients) {
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!all_finite(gradients[i])) return model.named_parameters()[i].key();
  }
  return "";
}

}  // namespace stpn::train
