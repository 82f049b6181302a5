#include "stpn/nn/models/classifier.h"

#include <algorithm>

#include "stpn/base/error.h"
#include "stpn/kernels/classifier_loss/equations.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {
namespace {

template <typename T>
Classifier::LossGradients loss_gradients_of(const torch::nn::LinearImpl& head,
                                            const torch::Tensor& y, int64_t first,
                                            const torch::Tensor& targets, double scale) {
  const torch::Tensor weight = head.weight.detach().contiguous(), bias = head.bias.detach();
  Classifier::LossGradients gradients{.y = torch::empty(y.sizes(), y.options()),
                                      .weight = torch::empty(weight.sizes(), y.options()),
                                      .bias = torch::empty(bias.sizes(), y.options())};
  const int64_t before = first * y.size(1) * y.size(2);
  T* const grad_y = gradients.y.data_ptr<T>();
  std::fill_n(grad_y, before, T(0));
  gradients.loss = kernels::classifier_loss_cpu<T>({.rows = targets.size(0),
                                                    .hidden = y.size(2),
                                                    .classes = weight.size(0),
                                                    .scale = scale,
                                                    .y = y.const_data_ptr<T>() + before,
                                                    .weight = weight.const_data_ptr<T>(),
                                                    .bias = bias.const_data_ptr<T>(),
                                                    .target = targets.const_data_ptr<int64_t>(),
                                                    .grad_y = grad_y + before,
                                                    .grad_weight = gradients.weight.data_ptr<T>(),
                                                    .grad_bias = gradients.bias.data_ptr<T>()});
  return gradients;
}

}  // namespace

Classifier::Classifier(std::shared_ptr<Unit> unit, int64_t classes) : unit_(std::move(unit)) {
  STPN_CHECK(unit_ != nullptr, "there is no unit");
  STPN_CHECK(classes >= 1, "classes is {}", classes);
  register_module("unit", unit_);
  head_ = register_module("head", torch::nn::Linear(unit_->hidden_size(), classes));
}

Classifier::Output Classifier::forward(const UnitInput& input, int64_t first) {
  UnitOutput output = unit_->forward(input);
  return {logits(output.y, first), std::move(output.energy), std::move(output.state)};
}

torch::Tensor Classifier::logits(const torch::Tensor& y, int64_t first) const {
  // What is asked for most often, the last step, in as few steps of autograd as possible.
  const torch::Tensor rows =
      first + 1 == y.size(0) ? y.select(0, first) : y.slice(0, first).flatten(0, 1);
  return torch::linear(rows, head_->weight, head_->bias);
}

Classifier::LossGradients Classifier::loss_gradients(const torch::Tensor& y, int64_t first,
                                                     const torch::Tensor& targets,
                                                     double scale) const {
  STPN_CHECK(y.dim() == 3 && 0 <= first && first <= y.size(0) &&
                 targets.numel() == (y.size(0) - first) * y.size(1),
             "there are {} targets for the steps from {} on", targets.numel(), first);
  const torch::NoGradGuard no_grad;
  const bool single = y.scalar_type() == torch::kFloat;
  const auto run = single ? loss_gradients_of<float> : loss_gradients_of<double>;
  return run(*head_, y.contiguous(), first, targets.contiguous(), scale);
}

void Classifier::reset_parameters(uint64_t seed) {
  unit_->reset_parameters(seed);
  reset_head(head_->weight, head_->bias, seed, 1000, unit_->initialisation());
}

torch::Tensor losses(const torch::Tensor& logits, const torch::Tensor& targets) {
  if (logits.size(1) > 1) {
    return at::cross_entropy_loss(logits, targets, /*weight=*/{}, at::Reduction::None,
                                  /*ignore_index=*/kNoTarget);
  }
  const torch::Tensor asked = targets.ne(kNoTarget).to(logits.scalar_type());
  return at::binary_cross_entropy_with_logits(logits.squeeze(1),
                                              targets.clamp_min(0).to(logits.scalar_type()), asked,
                                              /*pos_weight=*/{}, at::Reduction::None);
}

int64_t count_right(const torch::Tensor& logits, const torch::Tensor& targets) {
  const torch::Tensor answer =
      logits.size(1) > 1 ? logits.argmax(1) : logits.squeeze(1).gt(0).to(torch::kInt64);
  return answer.eq(targets).sum().item<int64_t>();
}

YesCounts count_yes(const torch::Tensor& logits, const torch::Tensor& targets) {
  STPN_CHECK(logits.size(1) == 1, "there are {} classes, not one", logits.size(1));
  const torch::Tensor answer = logits.squeeze(1).gt(0), yes = targets.eq(1), no = targets.eq(0);
  const auto count = [](const torch::Tensor& mask) { return mask.sum().item<int64_t>(); };
  return {.yes = count(yes),
          .no = count(no),
          .hits = count(answer.logical_and(yes)),
          .false_alarms = count(answer.logical_and(no))};
}

}  // namespace stpn::nn
