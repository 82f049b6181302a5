// The loss of proximal policy optimisation (PPO), and its gradient.
//
// With action a, advantage A, target R, value v, policy p, and p', v' those of when the action was
// drawn, the loss of a step is
//   - min(ratio A, clip(ratio, 1 - clip, 1 + clip) A),    ratio = p(a) / p'(a)
//   + value_weight * value term
//   - entropy_weight * entropy of p
//   + kl_weight * KL(p' || p)
// and the loss of a minibatch the mean over its steps with an action. The value term, by
// `value_clipping`:
//   change  max((v - R)^2, (v' + clip(v - v', -value_clip, value_clip) - R)^2)
//   error   min((v - R)^2, value_clip): no gradient where the error is larger
//   none    (v - R)^2
//
// Schulman et al., Proximal policy optimization algorithms, arXiv:1707.06347; `change` and the KL
// term as in RLlib until 2022, `error` as in RLlib since.
#pragma once

#include "stpn/nn/models/policy_head.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"
#include "stpn/train/algorithms/sequences/step_loss.h"

namespace stpn::train {

class PpoLoss : public StepLoss {
 public:
  // Options and policy must outlive this object.
  PpoLoss(const PpoOptions& options, double kl_weight, const nn::StepPolicy& policy)
      : options_(options), kl_weight_(kl_weight), policy_(policy) {}

  void add(const SequenceBatch& batch, int64_t row, const double* outputs, double value,
           double scale, LossSums& sums, double* d_outputs, double* d_value) const override;
  // The loss that the sums over a minibatch give.
  double of(const LossSums& sums) const;

 private:
  const PpoOptions& options_;
  double kl_weight_;
  const nn::StepPolicy& policy_;
};

// log p'(a) of all steps with an action of a batch: SequenceBatch::log_prob.
void write_log_prob(const nn::StepPolicy& policy, SequenceBatch& batch);

}  // namespace stpn::train
