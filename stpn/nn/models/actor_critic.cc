#include "stpn/nn/models/actor_critic.h"

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {

ActorCritic::ActorCritic(std::shared_ptr<Unit> unit, int64_t actions) : unit_(std::move(unit)) {
  STPN_CHECK(unit_ != nullptr, "there is no unit");
  STPN_CHECK(actions >= 1, "actions is {}", actions);
  register_module("unit", unit_);
  policy_ = register_module("policy", torch::nn::Linear(unit_->hidden_size(), actions));
  value_ = register_module("value", torch::nn::Linear(unit_->hidden_size(), 1));
}

ActorCritic::Output ActorCritic::forward(const UnitInput& input) {
  const UnitOutput output = unit_->forward(input);
  return {policy_(output.y), value_(output.y).squeeze(2), output.energy, output.state};
}

void ActorCritic::reset_parameters(uint64_t seed) {
  unit_->reset_parameters(seed);
  reset_head(policy_, seed, 1000);
  reset_head(value_, seed, 1002);
}

}  // namespace stpn::nn
