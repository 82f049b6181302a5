// A unit, and a linear layer on its hidden state at the end of a sequence: one class per sequence.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "stpn/nn/unit.h"

namespace stpn::nn {

class Classifier : public torch::nn::Module {
 public:
  Classifier(std::shared_ptr<Unit> unit, int64_t classes);

  struct Output {
    torch::Tensor logits;  // (B, classes)
    torch::Tensor energy;  // (T, B, neurons), undefined unless asked for
  };
  // x (T, B, I). The state starts at zero.
  Output forward(const torch::Tensor& x, bool energy = false);

  // Unit and head anew: head weight and bias ~ U(+-1/sqrt(H)).
  void reset_parameters(uint64_t seed);

  Unit& unit() { return *unit_; }

 private:
  std::shared_ptr<Unit> unit_;
  torch::nn::Linear head_{nullptr};
};

}  // namespace stpn::nn
