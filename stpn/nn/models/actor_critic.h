// A unit with two linear layers on its hidden state at every step: the policy, and the value of the
// state.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "stpn/nn/unit.h"

namespace stpn::nn {

class ActorCritic : public torch::nn::Module {
 public:
  ActorCritic(std::shared_ptr<Unit> unit, int64_t actions);

  struct Output {
    torch::Tensor logits;  // (T, B, actions); the policy is their softmax
    torch::Tensor value;   // (T, B)
    torch::Tensor energy;  // (T, B, neurons), undefined unless asked for
    State state;           // the unit's, after the last step
  };
  Output forward(const UnitInput& input);

  // Unit and heads anew: weights and biases of the heads ~ U(+-1/sqrt(H)).
  void reset_parameters(uint64_t seed);

  Unit& unit() const { return *unit_; }
  int64_t actions() const { return policy_->options.out_features(); }
  const torch::Tensor& policy_weight() const { return policy_->weight; }  // (actions, H)
  const torch::Tensor& policy_bias() const { return policy_->bias; }      // (actions)

 private:
  std::shared_ptr<Unit> unit_;
  torch::nn::Linear policy_{nullptr};
  torch::nn::Linear value_{nullptr};
};

}  // namespace stpn::nn
