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

ops::ClassifierLoss Classifier::loss(const torch::Tensor& y, const torch::Tensor& targets,
                                     double scale) const {
  return ops::run_classifier_loss(y, head_->weight, head_->bias, targets, scale);
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
