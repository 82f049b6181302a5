#include "stpn/nn/stpn_recurrent.h"

#include <cmath>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/nn/stpn_recurrent_op.h"
#include "stpn/nn/words.h"

namespace stpn::nn {
namespace {

// In the order of the enums they stand for.
const std::vector<std::string> kRates{"synapse", "source", "scalar"};
const std::vector<std::string> kBiasRates{"unit", "scalar"};

}  // namespace

kernels::StpnRecurrentVariant variant_of(const StpnRecurrentOptions& o) {
  kernels::StpnRecurrentVariant v = kernel_variant(o);
  v.rates = parse_word<kernels::Rates>("rates", o.rates, kRates);
  v.layer_norm = o.layer_norm;
  v.plastic_bias = o.plastic_bias;
  v.scalar_bias_rates =
      o.plastic_bias && parse_word<int>("bias_rates", o.bias_rates, kBiasRates) == 1;
  return v;
}

std::vector<base::Field> StpnRecurrentOptions::fields() {
  std::vector<base::Field> fields{base::field("hidden_size", hidden_size,
                                              "units; memory and cost grow with its square",
                                              {.least = 1, .most = kMostUnits})};
  for (base::Field& field : fields_of(*this)) fields.push_back(std::move(field));
  for (base::Field& field : std::vector<base::Field>{
           base::field("rates", rates,
                       "learn a decay and a rate for each synapse, each source, or one", kRates),
           base::field("bias", bias, "learn a bias for each unit"),
           base::field("layer_norm", layer_norm, "layer norm before the activation"),
           base::field("plastic_bias", plastic_bias, "give the bias a fast part too"),
           base::field("bias_rates", bias_rates,
                       "with plastic_bias: a decay and a rate for each unit, or one", kBiasRates),
       }) {
    fields.push_back(std::move(field));
  }
  return fields;
}

std::shared_ptr<Unit> StpnRecurrentOptions::make(int64_t input_size) const {
  return std::make_shared<StpnRecurrent>(input_size, *this);
}

StpnRecurrent::StpnRecurrent(int64_t input_size, const StpnRecurrentOptions& options)
    : Unit(input_size, options.hidden_size), options_(options) {
  const int64_t H = hidden_size();
  STPN_CHECK(input_size > 0 && H > 0, "input_size is {} and hidden_size {}; wants both above 0",
             input_size, H);
  STPN_CHECK(options.clamp > 0, "clamp is {}, wants to be above 0", options.clamp);
  const kernels::StpnRecurrentVariant variant = variant_of(options);
  const kernels::Extent extent{.inputs = input_size, .hidden = H};
  const int64_t P = kernels::plastic_sources(extent, variant.connections);
  std::vector<int64_t> rates{H, P};
  if (variant.rates == kernels::Rates::source) rates = {P};
  if (variant.rates == kernels::Rates::scalar) rates = {1};

  auto parameter = [&](const char* name, const std::vector<int64_t>& shape) {
    return register_parameter(name, torch::zeros(shape));
  };
  weight_ = parameter("weight", {H, input_size + H});
  if (options.bias) bias_ = parameter("bias", {H});
  weight_lambda_ = parameter("weight_lambda", rates);
  weight_gamma_ = parameter("weight_gamma", rates);
  if (options.layer_norm) {
    layer_norm_weight_ = parameter("layer_norm_weight", {H});
    layer_norm_bias_ = parameter("layer_norm_bias", {H});
  }
  if (options.plastic_bias) {
    bias_lambda_ = parameter("bias_lambda", {variant.scalar_bias_rates ? 1 : H});
    bias_gamma_ = parameter("bias_gamma", {variant.scalar_bias_rates ? 1 : H});
  }
}

void StpnRecurrent::reset_parameters(uint64_t seed) {
  const double k = 1 / std::sqrt(static_cast<double>(hidden_size()));
  uniform_(weight_, -k, k, seed, 0);
  if (bias_.defined()) uniform_(bias_, -k, k, seed, 1);
  uniform_(weight_lambda_, 0, 1, seed, 2);
  uniform_(weight_gamma_, -0.001 * k, 0.001 * k, seed, 3);
  if (bias_lambda_.defined()) {
    uniform_(bias_lambda_, 0, 1, seed, 4);
    uniform_(bias_gamma_, -0.001 * k, 0.001 * k, seed, 5);
  }
  torch::NoGradGuard no_grad;
  if (layer_norm_weight_.defined()) {
    layer_norm_weight_.fill_(1);
    layer_norm_bias_.zero_();
  }
}

State StpnRecurrent::initial_state(int64_t batch) const {
  const auto zeros = [&](std::vector<int64_t> shape) {
    return torch::zeros(shape, weight_.options().requires_grad(false));
  };
  const kernels::Extent extent{.inputs = input_size(), .hidden = hidden_size()};
  const int64_t P = kernels::plastic_sources(extent, variant_of(options_).connections);
  State state{{"h", zeros({batch, hidden_size()})}, {"F", zeros({batch, hidden_size(), P})}};
  if (options_.plastic_bias) state.emplace_back("beta", zeros({batch, hidden_size()}));
  return state;
}

UnitOutput StpnRecurrent::forward(const UnitInput& input) {
  check_input(input);
  const State state = input.state.empty() ? initial_state(input.x.size(1)) : input.state;
  StpnRecurrentCall call;
  static_cast<StpnVariant&>(call) = options_;
  call.x = input.x;
  call.h = state[0].second;
  call.F = state[1].second;
  if (options_.plastic_bias) call.beta = state[2].second;
  call.weight = weight_;
  call.bias = bias_;
  call.weight_lambda = weight_lambda_;
  call.weight_gamma = weight_gamma_;
  call.layer_norm_weight = layer_norm_weight_;
  call.layer_norm_bias = layer_norm_bias_;
  call.bias_lambda = bias_lambda_;
  call.bias_gamma = bias_gamma_;
  call.reset = input.reset;
  if (input.energy && measured().defined()) call.measured = measured().to(weight_.scalar_type());
  call.energy = input.energy;
  const StpnRecurrentResult result = stpn_recurrent(call);

  UnitOutput output;
  output.y = result.output;
  output.state = {{"h", result.output[-1]}, {"F", result.F}};
  if (options_.plastic_bias) output.state.emplace_back("beta", result.beta);
  if (input.energy) output.energy = result.energy;
  return output;
}

}  // namespace stpn::nn
