#include "stpn/nn/models/classifier.h"

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {
namespace {

torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& targets,
                            at::Reduction::Reduction reduction) {
  if (logits.size(1) > 1) {
    return at::cross_entropy_loss(logits, targets, /*weight=*/{}, reduction,
                                  /*ignore_index=*/kNoTarget);
  }
  const torch::Tensor asked = targets.ne(kNoTarget).to(logits.scalar_type());
  return at::binary_cross_entropy_with_logits(logits.squeeze(1),
                                              targets.clamp_min(0).to(logits.scalar_type()), asked,
                                              /*pos_weight=*/{}, reduction);
}

}  // namespace

Classifier::Classifier(std::shared_ptr<Unit> unit, int64_t classes) : unit_(std::move(unit)) {
  STPN_CHECK(unit_ != nullptr, "there is no unit");
  STPN_CHECK(classes >= 1, "classes is {}", classes);
  register_module("unit", unit_);
  head_ = register_module("head", torch::nn::Linear(unit_->hidden_size(), classes));
}

Classifier::Output Classifier::with_head(UnitOutput output, int64_t first) {
  // What a trainer asks for most often, the last step, in as few steps of autograd as possible.
  const torch::Tensor y = first + 1 == output.y.size(0) ? output.y.select(0, first)
                                                        : output.y.slice(0, first).flatten(0, 1);
  return {head_(y), std::move(output.energy), std::move(output.state)};
}

void Classifier::reset_parameters(uint64_t seed) {
  unit_->reset_parameters(seed);
  reset_head(head_->weight, head_->bias, seed, 1000, unit_->initialisation());
}

torch::Tensor sum_of_losses(const torch::Tensor& logits, const torch::Tensor& targets) {
  return cross_entropy(logits, targets, at::Reduction::Sum);
}

torch::Tensor losses(const torch::Tensor& logits, const torch::Tensor& targets) {
  return cross_entropy(logits, targets, at::Reduction::None);
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
