// An agent: an encoder of images (optional), a unit, and two heads on its hidden state at
// every step: the policy, and the value of the state.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "stpn/nn/models/encoder.h"
#include "stpn/nn/models/policy_head.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

class Agent : public torch::nn::Module {
 public:
  // `encoder` may be null: the unit then sees the observations.
  Agent(std::shared_ptr<Encoder> encoder, std::shared_ptr<Unit> unit,
        std::shared_ptr<PolicyHead> policy);

  struct Output {
    std::unique_ptr<Policy> policy;
    torch::Tensor value;   // (T, B)
    torch::Tensor energy;  // of the unit, (T, B, H); undefined unless asked for
    State state;           // the unit's, after the last step
  };
  // As Unit::forward, with x (T, B, I) the observations: with an encoder images, uint8.
  // REQUIRES: with an encoder, no closed loop.
  Output forward(const UnitInput& input) { return with_heads(forward_unit(input)); }
  // Without the heads: the unit's output.
  UnitOutput forward_unit(const UnitInput& input) { return unit_->forward(encoded(input)); }
  // What the heads make of the unit's output.
  Output with_heads(UnitOutput output);

  // Encoder, unit and heads anew: weights and biases of the heads ~ U(+-1/sqrt(H)).
  void reset_parameters(uint64_t seed);

  Encoder* encoder() const { return encoder_.get(); }  // may be null
  Unit& unit() const { return *unit_; }
  const PolicyHead& policy_head() const { return *policy_; }
  const torch::nn::LinearImpl& value_head() const { return *value_; }

 private:
  UnitInput encoded(const UnitInput& input);

  std::shared_ptr<Encoder> encoder_;
  std::shared_ptr<Unit> unit_;
  std::shared_ptr<PolicyHead> policy_;
  torch::nn::Linear value_{nullptr};
};

}  // namespace stpn::nn
