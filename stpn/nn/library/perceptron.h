// A layer without memory: its output depends on the input of the same time step only.
//
//   h[t] = act(W x[t] + b)
//
// Energy of a neuron: sum over j of |W_ij| x_j^2.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct PerceptronOptions : UnitOptions {
  int64_t hidden_size = 20;
  std::string activation = "tanh";  // tanh | sigmoid | relu | identity

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: weight (H, I), bias (H), both ~ U(+-1/sqrt(I)). State: none, so there is
// nothing for a reset to do.
class Perceptron : public Unit {
 public:
  Perceptron(int64_t input_size, const PerceptronOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  StateShapes state_shapes() const override;
  void reset_parameters(uint64_t seed) override;

 private:
  torch::Tensor (*activation_)(const torch::Tensor& preactivation);
  torch::Tensor weight_, bias_;
};

}  // namespace stpn::nn
