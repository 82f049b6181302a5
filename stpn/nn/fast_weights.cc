#include "stpn/nn/fast_weights.h"

#include <cmath>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/ops/units/fast_weights.h"

namespace stpn::nn {

namespace {

kernels::FastWeightsVariant variant_of(const FastWeightsOptions& options) {
  kernels::FastWeightsVariant variant;
  set_variant(kernels::kFastWeights,
              [&](const auto& visit) { FAST_WEIGHTS_OPTIONS(STPN_CONFIG_VISIT_BOTH) });
  variant.layer_norm = options.layer_norm;
  return variant;
}

}  // namespace

std::vector<base::Field> FastWeightsOptions::fields() {
  FastWeightsOptions& options = *this;
  std::vector<base::Field> fields = option_fields(
      kernels::kFastWeights, [&](const auto& visit) { FAST_WEIGHTS_OPTIONS(STPN_CONFIG_VISIT) });
  fields.insert(fields.begin(), base::field("hidden_size", hidden_size,
                                            "neurons; memory and cost grow with its square",
                                            {.least = 1, .most = kMostNeurons}));
  fields.push_back(
      base::field("layer_norm", layer_norm,
                  "layer norm before each activation; without it activities saturate as the fast "
                  "weights grow"));
  return fields;
}

std::shared_ptr<Unit> FastWeightsOptions::make(int64_t input_size) const {
  return make_unit<FastWeights>(input_size, *this);
}

FastWeights::FastWeights(int64_t input_size, const FastWeightsOptions& options)
    : Unit(input_size, options.hidden_size), variant_(variant_of(options)) {
  const int64_t H = hidden_size();
  STPN_CHECK(input_size > 0 && H > 0, "input_size is {} and hidden_size {}; wants both above 0",
             input_size, H);
  weight_ = register_parameter("weight", torch::zeros({H, input_size + H}));
  bias_ = register_parameter("bias", torch::zeros({H}));
  if (options.layer_norm) {
    layer_norm_weight_ = register_parameter("layer_norm_weight", torch::zeros({H}));
    layer_norm_bias_ = register_parameter("layer_norm_bias", torch::zeros({H}));
  }
}

void FastWeights::reset_parameters(uint64_t seed) {
  const double k = 1 / std::sqrt(static_cast<double>(hidden_size()));
  uniform_(weight_, -k, k, seed, 0);
  uniform_(bias_, -k, k, seed, 1);
  torch::NoGradGuard no_grad;
  if (layer_norm_weight_.defined()) {
    layer_norm_weight_.fill_(1);
    layer_norm_bias_.zero_();
  }
}

StateShapes FastWeights::state_shapes() const {
  const int64_t H = hidden_size();
  return {{"h", {H}}, {"A", {H, H}}};
}

UnitOutput FastWeights::forward(const UnitInput& input) {
  check_input(input);
  ops::FastWeightsCall call;
  call.variant = variant_;
  call.x = input.x;
  if (!input.state.empty()) {
    call.h = input.state[0].second;
    call.A = input.state[1].second;
  }
  call.weight = weight_;
  call.bias = bias_;
  call.layer_norm_weight = layer_norm_weight_;
  call.layer_norm_bias = layer_norm_bias_;
  call.reset = input.reset;
  if (input.energy && measured().defined()) call.measured = measured().to(weight_.scalar_type());
  call.energy = input.energy;
  call.final_states = input.wants_state;
  call.closed_loop = input.closed_loop;
  const ops::FastWeightsResult result = ops::fast_weights(call);

  UnitOutput output;
  output.y = result.output;
  if (input.wants_state) {
    output.state = {{"h", last_activity(result.output)}, {"A", result.A}};
  }
  if (input.energy) output.energy = result.energy;
  return output;
}

}  // namespace stpn::nn
