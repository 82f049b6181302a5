// Adam (Kingma, Ba 2015; betas 0.9 and 0.999) through libtorch's fused multi-tensor op.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace stpn::train {

class Adam {
 public:
  Adam(std::vector<torch::Tensor> parameters, double learning_rate, double epsilon = 1e-8);

  // Changes the parameters by their gradients, and lets go of the gradients: the next backward pass
  // then hands over its own tensors instead of adding to ours.
  void step();

  // Steps taken; exact up to 2^24, as libtorch keeps it in a float.
  int64_t steps() const;
  void set_steps(int64_t steps);

  // The moments, in the order of the parameters.
  const std::vector<torch::Tensor>& mean() const { return mean_; }
  const std::vector<torch::Tensor>& square() const { return square_; }

 private:
  std::vector<torch::Tensor> parameters_, gradients_, mean_, square_;
  std::vector<torch::Tensor> steps_;  // the same tensor for every parameter
  double learning_rate_, epsilon_;
};

}  // namespace stpn::train
