// A unit, and a linear layer on its hidden state: one of a number of classes, or yes or no, at each
// step of a sequence; and the loss and the accuracy of what it says.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "stpn/nn/unit.h"
#include "stpn/ops/undispatched/classifier_loss.h"

namespace stpn::nn {

// The target of a step at which nothing is asked.
inline constexpr int64_t kNoTarget = -1;

class Classifier : public torch::nn::Module {
 public:
  // One class: the output is the logit of yes.
  Classifier(std::shared_ptr<Unit> unit, int64_t classes);

  struct Output {
    torch::Tensor logits;  // ((T - first) B, classes), in the order of (T - first, B)
    torch::Tensor energy;  // (T, B, H), undefined unless asked for
    State state;           // the unit's, after the last step
  };
  // As Unit::forward, with logits from step `first` on. REQUIRES: 0 <= first <= T.
  Output forward(const UnitInput& input, int64_t first = 0);
  // What the head makes of the unit's y, (T, B, H), from step `first` on: as Output::logits.
  torch::Tensor logits(const torch::Tensor& y, int64_t first = 0) const;

  // The sum of losses of the answers to `targets`, those of y's last steps, and `scale` times its
  // gradients, without libtorch's graph, which would take most of the time of a small batch.
  //   y        (T, B, H), the unit's
  //   targets  (N B), of the last N steps: as below
  ops::ClassifierLoss loss(const torch::Tensor& y, const torch::Tensor& targets,
                           double scale) const;

  // Unit and head anew: head weight and bias ~ U(+-1/sqrt(H)), or N(0, 1/H) and N(0, 1) if the
  // unit's initialisation is normal.
  void reset_parameters(uint64_t seed);

  Unit& unit() { return *unit_; }

 private:
  std::shared_ptr<Unit> unit_;
  torch::nn::Linear head_{nullptr};
};

// The cross-entropy between a classifier's answers and the targets, binary if there is one class:
// of each, (N), with 0 where there is no target.
//   logits   (N, classes)
//   targets  (N) int64: 0 .. classes-1, of one class 0 and 1; or kNoTarget
torch::Tensor losses(const torch::Tensor& logits, const torch::Tensor& targets);

// How many targets the most probable answers equal.
int64_t count_right(const torch::Tensor& logits, const torch::Tensor& targets);

// Of a classifier with one class: how many targets are yes and how many no, and to how many of each
// it answers yes.
struct YesCounts {
  int64_t yes = 0, no = 0;
  int64_t hits = 0, false_alarms = 0;
};
YesCounts count_yes(const torch::Tensor& logits, const torch::Tensor& targets);

}  // namespace stpn::nn
