#include "stpn/nn/backpropamine.h"

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/ops/units/backpropamine.h"

namespace stpn::nn {

namespace {

kernels::BackpropamineVariant variant_of(const BackpropamineOptions& options) {
  kernels::BackpropamineVariant variant;
  set_variant(kernels::kBackpropamine,
              [&](const auto& visit) { BACKPROPAMINE_OPTIONS(STPN_CONFIG_VISIT_BOTH) });
  return variant;
}

}  // namespace

std::vector<base::Field> BackpropamineOptions::fields() {
  BackpropamineOptions& options = *this;
  std::vector<base::Field> fields = option_fields(
      kernels::kBackpropamine, [&](const auto& visit) { BACKPROPAMINE_OPTIONS(STPN_CONFIG_VISIT) });
  fields.insert(fields.begin(), base::field("hidden_size", hidden_size,
                                            "neurons; memory and cost grow with its square",
                                            {.least = 1, .most = kMostNeurons}));
  return fields;
}

std::shared_ptr<Unit> BackpropamineOptions::make(int64_t input_size) const {
  return make_unit<Backpropamine>(input_size, *this);
}

Backpropamine::Backpropamine(int64_t input_size, const BackpropamineOptions& options)
    : Unit(input_size, options.hidden_size), variant_(variant_of(options)) {
  const int64_t H = hidden_size();
  STPN_CHECK(input_size > 0 && H > 0, "input_size is {} and hidden_size {}; wants both above 0",
             input_size, H);
  const auto parameter = [&](const char* name, const std::vector<int64_t>& shape) {
    return register_parameter(name, torch::zeros(shape));
  };
  weight_ih_ = parameter("weight_ih", {H, input_size});
  bias_ = parameter("bias", {H});
  weight_hh_ = parameter("weight_hh", {H, H});
  alpha_ = parameter("alpha", {H, H});
  if (variant_.has_modulator()) {
    modulator_weight_ = parameter("modulator_weight", {H});
    modulator_bias_ = parameter("modulator_bias", {1});
  }
  if (variant_.has_rate()) rate_ = parameter("rate", {1});
}

void Backpropamine::reset_parameters(uint64_t seed) {
  const double k_in = 1 / std::sqrt(static_cast<double>(input_size()));
  uniform_(weight_ih_, -k_in, k_in, seed, 0);
  uniform_(bias_, -k_in, k_in, seed, 1);
  uniform_(weight_hh_, 0, 0.01, seed, 2);
  uniform_(alpha_, 0, 0.01, seed, 3);
  if (modulator_weight_.defined()) {
    const double k = 1 / std::sqrt(static_cast<double>(hidden_size()));
    uniform_(modulator_weight_, -k, k, seed, 4);
    uniform_(modulator_bias_, -k, k, seed, 5);
  }
  torch::NoGradGuard no_grad;
  if (rate_.defined()) rate_.fill_(0.01);
}

StateShapes Backpropamine::state_shapes() const {
  const int64_t H = hidden_size();
  if (variant_.has_trace()) return {{"h", {H}}, {"P", {H, H}}, {"E", {H, H}}};
  return {{"h", {H}}, {"P", {H, H}}};
}

UnitOutput Backpropamine::forward(const UnitInput& input) {
  check_input(input);
  // The op knows by E that there is a trace.
  const bool wants_state = input.state.empty() && variant_.has_trace();
  const State state = wants_state ? initial_state(input.x.size(1)) : input.state;
  ops::BackpropamineCall call;
  call.variant = variant_;
  call.x = input.x;
  if (!state.empty()) {
    call.h = state[0].second;
    call.P = state[1].second;
    if (variant_.has_trace()) call.E = state[2].second;
  }
  call.weight_ih = weight_ih_;
  call.bias = bias_;
  call.weight_hh = weight_hh_;
  call.alpha = alpha_;
  call.modulator_weight = modulator_weight_;
  call.modulator_bias = modulator_bias_;
  call.rate = rate_;
  call.reset = input.reset;
  if (input.energy && measured().defined()) {
    call.measured = measured().slice(0, 0, input_size()).to(weight_ih_.scalar_type());
  }
  call.energy = input.energy;
  call.final_states = input.wants_state;
  call.closed_loop = input.closed_loop;
  const ops::BackpropamineResult result = ops::backpropamine(call);

  UnitOutput output;
  output.y = result.output;
  if (input.wants_state) {
    output.state = {{"h", last_activity(result.output)}, {"P", result.P}};
    if (variant_.has_trace()) output.state.emplace_back("E", result.E);
  }
  if (input.energy) output.energy = result.energy;
  return output;
}

}  // namespace stpn::nn
