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

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "stpn/nn/models/policy_head.h"
#include "stpn/train/algorithms/ppo/ppo_batch.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"

namespace stpn::train {

// Sums over the steps with an action.
struct PpoSums {
  double policy = 0, value = 0, entropy = 0, divergence = 0;  // the terms above, without weights
  double clipped = 0;  // how many ratios are outside of 1 +- clip
  double steps = 0;

  void add(const PpoSums& other);
  // The loss that the sums give.
  double loss(const PpoOptions& options, double kl_weight) const;
};

// Computes without torch's operations, of which a loss needs some fifty: minibatches are small.
//   sequences         of one length L
//   outputs, value    in  (L, B, outputs) and (L, B) double, dense: of the agent
//   minibatch_steps   steps with an action in the minibatch, of which these are a part
//   d_outputs, d_value  out  as outputs and value: the gradient of the loss of the minibatch
PpoSums ppo_loss(const PpoOptions& options, double kl_weight, const nn::StepPolicy& policy,
                 const PpoBatch& batch, const std::vector<Sequence>& sequences,
                 const torch::Tensor& outputs, const torch::Tensor& value, double minibatch_steps,
                 torch::Tensor d_outputs, torch::Tensor d_value);

// log p'(a) of all steps with an action of a batch: PpoBatch::log_prob.
void write_log_prob(const nn::StepPolicy& policy, PpoBatch& batch);

}  // namespace stpn::train
