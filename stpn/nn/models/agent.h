// An agent: an encoder of its observations (optional), a unit, and two heads on its hidden state at
// every step: the policy, and the value of the state.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "stpn/nn/models/policy_head.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

// What stands between an observation and the unit: a convolution, for example.
class Encoder : public torch::nn::Module {
 public:
  // observations (N, I) -> inputs of the unit (N, features).
  virtual torch::Tensor forward(const torch::Tensor& observations) = 0;
  virtual void reset_parameters(uint64_t seed) = 0;
};

class Agent : public torch::nn::Module {
 public:
  // `encoder` may be null: the unit then sees the observations.
  Agent(std::shared_ptr<Encoder> encoder, std::shared_ptr<Unit> unit,
        std::shared_ptr<PolicyHead> policy);

  struct Output {
    std::unique_ptr<Policy> policy;
    torch::Tensor value;   // (T, B)
    torch::Tensor energy;  // of the unit, (T, B, neurons); undefined unless asked for
    State state;           // the unit's, after the last step
  };
  // As Unit::forward, with x (T, B, I) the observations. In a closed loop h is the unit's, and with
  // an encoder the loop is run first, step by step and without gradients: observations of a later
  // step are not known when the encoder runs over all of them at once.
  Output forward(const UnitInput& input);

  // Without the heads: the unit's output.
  UnitOutput forward_unit(const UnitInput& input);

  // Encoder, unit and heads anew: weights and biases of the heads ~ U(+-1/sqrt(H)).
  void reset_parameters(uint64_t seed);

  Unit& unit() const { return *unit_; }
  const PolicyHead& policy_head() const { return *policy_; }
  const torch::nn::LinearImpl& value_head() const { return *value_; }

 private:
  std::shared_ptr<Encoder> encoder_;
  std::shared_ptr<Unit> unit_;
  std::shared_ptr<PolicyHead> policy_;
  torch::nn::Linear value_{nullptr};
};

}  // namespace stpn::nn
