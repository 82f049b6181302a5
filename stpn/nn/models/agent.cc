#include "stpn/nn/models/agent.h"

#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {

Agent::Agent(std::shared_ptr<Encoder> encoder, std::shared_ptr<Unit> unit,
             std::shared_ptr<PolicyHead> policy)
    : encoder_(std::move(encoder)), unit_(std::move(unit)), policy_(std::move(policy)) {
  STPN_CHECK(unit_ != nullptr && policy_ != nullptr, "there is no unit or no policy");
  STPN_CHECK(policy_->weight().size(1) == unit_->hidden_size(),
             "the policy has {} inputs, the unit {} neurons", policy_->weight().size(1),
             unit_->hidden_size());
  if (encoder_ != nullptr) register_module("encoder", encoder_);
  register_module("unit", unit_);
  register_module("policy", policy_);
  value_ = register_module("value", torch::nn::Linear(unit_->hidden_size(), 1));
}

Agent::Output Agent::forward(const UnitInput& input) {
  UnitOutput output = forward_unit(input);
  return {policy_->forward(output.y), value_(output.y).squeeze(2), output.energy,
          std::move(output.state)};
}

UnitOutput Agent::forward_unit(const UnitInput& input) {
  UnitInput inner = input;
  if (encoder_ != nullptr) {
    const auto encoded = [this](UnitInput of) {
      of.x = encoder_->forward(of.x.flatten(0, 1)).view({of.x.size(0), of.x.size(1), -1});
      return of;
    };
    inner = run_loop(input, [&](const UnitInput& step) { return unit_->forward(encoded(step)); });
    inner = encoded(std::move(inner));
  }
  return unit_->forward(inner);
}

void Agent::reset_parameters(uint64_t seed) {
  if (encoder_ != nullptr) encoder_->reset_parameters(seed);
  unit_->reset_parameters(seed);
  policy_->reset_parameters(seed, 1000);
  reset_head(value_->weight, value_->bias, seed, 1002);
}

}  // namespace stpn::nn
