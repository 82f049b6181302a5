#include "stpn/nn/models/agent.h"

#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/profile.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {

Agent::Agent(std::shared_ptr<Encoder> encoder, std::shared_ptr<Unit> unit,
             std::shared_ptr<PolicyHead> policy)
    : encoder_(std::move(encoder)), unit_(std::move(unit)), policy_(std::move(policy)) {
  STPN_CHECK(unit_ != nullptr && policy_ != nullptr, "there is no unit or no policy");
  STPN_CHECK(policy_->weight().size(1) == unit_->hidden_size(),
             "the policy has {} inputs, the unit {} neurons", policy_->weight().size(1),
             unit_->hidden_size());
  if (encoder_ != nullptr) {
    STPN_CHECK(encoder_->features() == unit_->input_size(),
               "the encoder has {} features, the unit {} inputs", encoder_->features(),
               unit_->input_size());
    register_module("encoder", encoder_);
  }
  register_module("unit", unit_);
  register_module("policy", policy_);
  value_ = register_module("value", torch::nn::Linear(unit_->hidden_size(), 1));
}

Agent::Output Agent::with_heads(UnitOutput output) {
  return {policy_->forward(output.y), value_(output.y).squeeze(2), output.energy,
          std::move(output.state)};
}

UnitInput Agent::encoded(const UnitInput& input) {
  if (encoder_ == nullptr) return input;
  STPN_CHECK(input.closed_loop == nullptr, "the images of later steps are not known yet");
  const base::Working working(base::Work::convolution);
  UnitInput of_unit = input;
  of_unit.x = encoder_->forward(input.x.flatten(0, 1)).view({input.x.size(0), input.x.size(1), -1});
  return of_unit;
}

void Agent::reset_parameters(uint64_t seed) {
  if (encoder_ != nullptr) encoder_->reset_parameters(seed);
  unit_->reset_parameters(seed);
  policy_->reset_parameters(seed, 1000);
  reset_head(value_->weight, value_->bias, seed, 1002);
}

}  // namespace stpn::nn
