// The loss of one step with an action, as a trainer defines it, and its gradient, without torch.
#pragma once

#include <cstdint>

#include "stpn/train/algorithms/sequences/sequence_batch.h"

namespace stpn::train {

// Sums over steps with an action.
struct LossSums {
  double policy = 0, value = 0, entropy = 0, divergence = 0;  // the terms of the loss, unweighted
  double clipped = 0;  // how many ratios of probabilities were outside their bounds
  double steps = 0;

  void add(const LossSums& other) {
    policy += other.policy;
    value += other.value;
    entropy += other.entropy;
    divergence += other.divergence;
    clipped += other.clipped;
    steps += other.steps;
  }
};

class StepLoss {
 public:
  virtual ~StepLoss() = default;
  // Adds the terms of a step to `sums`, and `scale` times the gradient of its loss to the others.
  //   row      of the batch's (T, E), with an action
  //   outputs  in (outputs): of the policy head
  //   value    that the agent predicts
  //   d_outputs, d_value  in and out: (outputs) and a number
  virtual void add(const SequenceBatch& batch, int64_t row, const double* outputs, double value,
                   double scale, LossSums& sums, double* d_outputs, double* d_value) const = 0;
};

}  // namespace stpn::train
