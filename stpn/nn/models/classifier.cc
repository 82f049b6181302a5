#include "stpn/nn/models/classifier.h"

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {

Classifier::Classifier(std::shared_ptr<Unit> unit, int64_t classes) : unit_(std::move(unit)) {
  STPN_CHECK(unit_ != nullptr, "there is no unit");
  STPN_CHECK(classes >= 1, "classes is {}", classes);
  register_module("unit", unit_);
  head_ = register_module("head", torch::nn::Linear(unit_->hidden_size(), classes));
}

Classifier::Output Classifier::forward(const torch::Tensor& x, bool energy) {
  UnitInput input;
  input.x = x;
  input.energy = energy;
  UnitOutput output = unit_->forward(input);
  return {head_(output.y[-1]), output.energy};
}

void Classifier::reset_parameters(uint64_t seed) {
  unit_->reset_parameters(seed);
  reset_head(head_, seed, 1000);
}

}  // namespace stpn::nn
