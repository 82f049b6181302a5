#include "stpn/train/algorithms/saved_tensor.h"

#include <cstring>

#include "stpn/base/error.h"

namespace stpn::train {

base::NamedTensor saved_tensor(const std::string& name, const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.detach().to(torch::kFloat64).contiguous();
  return {name, base::TensorType::float64, values.sizes().vec(),
          std::string(static_cast<const char*>(values.const_data_ptr()), values.nbytes())};
}

void read_saved(const base::Safetensors& content, const std::string& name, torch::Tensor to) {
  const base::NamedTensor& from = content.at(name);
  STPN_CHECK(from.type == base::TensorType::float64 && to.sizes() == torch::IntArrayRef(from.shape),
             "{} belongs to another run", name);
  const torch::Tensor values = torch::empty(to.sizes(), torch::kFloat64);
  std::memcpy(values.data_ptr(), from.bytes.data(), from.bytes.size());
  to.copy_(values);
}

}  // namespace stpn::train
