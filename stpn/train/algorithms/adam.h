// Adam (Kingma, Ba 2015; betas 0.9 and 0.999) through libtorch's fused multi-tensor op.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <vector>

namespace stpn::train {

class Adam {
 public:
  Adam(std::vector<torch::Tensor> parameters, double learning_rate, double epsilon = 1e-8);

  // Updates the parameters with their gradients, then releases the gradients, so that the next
  // backward pass assigns new tensors instead of adding to the old ones.
  void step();

  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double learning_rate) { learning_rate_ = learning_rate; }

  // The number of steps taken. Exact up to 2^24, because libtorch stores it as a float.
  int64_t steps() const;
  void set_steps(int64_t steps);

  // The running means of the gradients and of their squares, in the order of the parameters.
  const std::vector<torch::Tensor>& mean() const { return mean_; }
  const std::vector<torch::Tensor>& square() const { return square_; }

 private:
  std::vector<torch::Tensor> parameters_, gradients_, mean_, square_;
  std::vector<torch::Tensor> steps_;  // one tensor, shared by all parameters
  double learning_rate_, epsilon_;
};

}  // namespace stpn::train
