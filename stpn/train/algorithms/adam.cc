#include "stpn/train/algorithms/adam.h"

#include <fmt/ranges.h>

#include <utility>

#include "stpn/base/error.h"

namespace stpn::train {

Adam::Adam(std::vector<torch::Tensor> parameters, double learning_rate, double epsilon)
    : parameters_(std::move(parameters)),
      gradients_(parameters_.size()),
      steps_(parameters_.size(), torch::zeros({})),
      learning_rate_(learning_rate),
      epsilon_(epsilon) {
  for (const torch::Tensor& parameter : parameters_) {
    mean_.push_back(torch::zeros_like(parameter));
    square_.push_back(torch::zeros_like(parameter));
  }
}

void Adam::step() {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    gradients_[i] = std::exchange(parameters_[i].mutable_grad(), torch::Tensor());
    STPN_CHECK(gradients_[i].defined(), "parameter {} of {} has no gradient", i,
               parameters_.size());
    // at::_fused_adam_ takes no notice of strides.
    STPN_CHECK(gradients_[i].is_contiguous(), "the gradient of parameter {} of {} has strides {}",
               i, parameters_.size(), fmt::join(gradients_[i].strides().vec(), ", "));
  }
  *steps_[0].data_ptr<float>() += 1;
  at::_fused_adam_(parameters_, gradients_, mean_, square_, /*max_exp_avg_sqs=*/{}, steps_,
                   learning_rate_, /*beta1=*/0.9, /*beta2=*/0.999, /*weight_decay=*/0,
                   /*eps=*/epsilon_, /*amsgrad=*/false, /*maximize=*/false);
}

int64_t Adam::steps() const { return static_cast<int64_t>(*steps_[0].data_ptr<float>()); }

void Adam::set_steps(int64_t steps) { *steps_[0].data_ptr<float>() = static_cast<float>(steps); }

}  // namespace stpn::train
