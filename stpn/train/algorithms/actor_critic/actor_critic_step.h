// The loss of actor-critic at one step, for rollouts that are cut into sequences: that of
// actor_critic.h without policy_l2_weight, and with the entropy of the policy.
#pragma once

#include "stpn/nn/models/policy_head.h"
#include "stpn/train/algorithms/sequences/step_loss.h"

namespace stpn::train {

class ActorCriticStep : public StepLoss {
 public:
  // The policy must outlive this object.
  ActorCriticStep(double value_weight, double entropy_weight, const nn::StepPolicy& policy)
      : value_weight_(value_weight), entropy_weight_(entropy_weight), policy_(policy) {}

  void add(const SequenceBatch& batch, int64_t row, const double* outputs, double value,
           double scale, LossSums& sums, double* d_outputs, double* d_value) const override {
    const nn::PolicyAction action = batch.action_at(row);
    const nn::PolicyTerms terms = policy_.terms(outputs, outputs, action);
    const double advantage = batch.advantage.const_data_ptr<double>()[row];
    const double error = value - batch.target.const_data_ptr<double>()[row];
    sums.policy -= terms.log_prob * advantage;
    sums.value += error * error;
    sums.entropy += terms.entropy;
    sums.steps += 1;
    policy_.add_gradient(outputs, outputs, action,
                         {.log_prob = -advantage * scale, .entropy = -entropy_weight_ * scale},
                         d_outputs);
    *d_value += 2 * value_weight_ * error * scale;
  }
  double of(const LossSums& sums) const {
    return sums.policy + value_weight_ * sums.value - entropy_weight_ * sums.entropy;
  }

 private:
  double value_weight_, entropy_weight_;
  const nn::StepPolicy& policy_;
};

}  // namespace stpn::train
