#include "stpn/nn/models/classifier.h"

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {
namespace {

// Rows in the order of (T - first, B). A view.
torch::Tensor rows_from(const torch::Tensor& y, int64_t first) {
  return first + 1 == y.size(0) ? y.select(0, first) : y.slice(0, first).flatten(0, 1);
}

// With one class: the targets, and which of them there are, as numbers.
struct YesTargets {
  YesTargets(const torch::Tensor& logits, const torch::Tensor& targets)
      : yes(targets.clamp_min(0).to(logits.scalar_type())),
        asked(targets.ne(kNoTarget).to(logits.scalar_type())) {}
  torch::Tensor yes, asked;
};

struct LogitGradients {
  torch::Tensor loss, logits;
};
// The sum of losses, and `scale` times its gradient with respect to the logits.
LogitGradients logit_gradients(const torch::Tensor& logits, const torch::Tensor& targets,
                               double scale) {
  if (logits.size(1) == 1) {
    const YesTargets target(logits, targets);
    const torch::Tensor said = logits.squeeze(1);
    return {at::binary_cross_entropy_with_logits(said, target.yes, target.asked, /*pos_weight=*/{},
                                                 at::Reduction::Sum),
            said.sigmoid().sub_(target.yes).mul_(scale).mul_(target.asked).unsqueeze_(1)};
  }
  const torch::Tensor log_probability = at::_log_softmax(logits, 1, /*half_to_float=*/false);
  const auto [loss, count] =
      at::nll_loss_forward(log_probability, targets, /*weight=*/{}, at::Reduction::Sum, kNoTarget);
  const torch::Tensor of_each =
      at::nll_loss_backward(torch::full({}, scale, logits.options()), log_probability, targets,
                            /*weight=*/{}, at::Reduction::Sum, kNoTarget, count);
  return {loss, at::_log_softmax_backward_data(of_each, log_probability, 1, logits.scalar_type())};
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
  return torch::linear(rows_from(y, first), head_->weight, head_->bias);
}

Classifier::LossGradients Classifier::loss_gradients(const torch::Tensor& y, int64_t first,
                                                     const torch::Tensor& targets,
                                                     double scale) const {
  const torch::NoGradGuard no_grad;
  const torch::Tensor rows = rows_from(y, first);
  const auto [loss, of_logits] = logit_gradients(logits(y, first), targets, scale);
  LossGradients gradients{.loss = loss.item<double>(),
                          .y = torch::zeros(y.sizes(), y.options()),
                          .weight = of_logits.t().mm(rows),
                          .bias = of_logits.sum(0)};
  torch::Tensor of_rows = rows_from(gradients.y, first);
  at::mm_out(of_rows, of_logits, head_->weight);
  return gradients;
}

void Classifier::reset_parameters(uint64_t seed) {
  unit_->reset_parameters(seed);
  reset_head(head_->weight, head_->bias, seed, 1000, unit_->initialisation());
}

torch::Tensor losses(const torch::Tensor& logits, const torch::Tensor& targets) {
  if (logits.size(1) == 1) {
    const YesTargets target(logits, targets);
    return at::binary_cross_entropy_with_logits(logits.squeeze(1), target.yes, target.asked,
                                                /*pos_weight=*/{}, at::Reduction::None);
  }
  return at::cross_entropy_loss(logits, targets, /*weight=*/{}, at::Reduction::None,
                                /*ignore_index=*/kNoTarget);
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
