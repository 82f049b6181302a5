#include "stpn/nn/stpn/stpn_unit.h"

#include <cmath>
#include <limits>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/ops/units/stpn.h"

namespace stpn::nn {
namespace {

const std::vector<std::string> kRates{"synapse", "presynaptic", "scalar"};
const std::vector<std::string> kBiasRates{"neuron", "scalar"};
const std::vector<std::string> kInitialisations{"uniform", "normal"};

// An update gate starts near 0.1: started at 0.5, units kept so much of their activities that they
// did not learn to overwrite (docs/capability.md).
constexpr double kUpdateBiasStart = -2;

// Throws base::UserError for a word that is none of the choices.
kernels::StpnVariant variant_of(const StpnOptions& options) {
  kernels::StpnVariant variant;
  set_variant(options.signature(), [&](const auto& visit) { STPN_OPTIONS(STPN_CONFIG_VISIT_BOTH) });
  variant.recurrent = options.recurrent();
  variant.rates = static_cast<kernels::Rates>(choice_index("rates", options.rates, kRates));
  variant.layer_norm = options.layer_norm;
  variant.plastic_bias = options.plastic_bias;
  variant.scalar_bias_rates =
      options.plastic_bias && choice_index("bias_rates", options.bias_rates, kBiasRates) == 1;
  variant.update_gate = options.update_gate;
  variant.write_gate = options.write_gate;
  variant.decay_gate = options.decay_gate;
  return variant;
}

}  // namespace

std::vector<base::Field> StpnOptions::fields() {
  StpnOptions& options = *this;
  std::vector<base::Field> fields =
      option_fields(signature(), [&](const auto& visit) { STPN_OPTIONS(STPN_CONFIG_VISIT) });
  for (base::Field& field : fields) {
    if (field.key == "norm") field.old_choices["drive"] = "preactivation";
  }
  fields.insert(fields.begin(),
                base::field("hidden_size", hidden_size,
                            recurrent_ ? "neurons; memory and cost grow with its square"
                                       : "neurons; memory and cost grow with it",
                            {.least = 1, .most = kMostNeurons}));
  fields.push_back(base::field("rates", rates,
                               "learn a decay and a rate for each synapse, for each presynaptic "
                               "input, or one in all",
                               kRates)
                       .choice_formerly("source", "presynaptic"));
  fields.push_back(base::field("bias", bias, "learn a bias for each neuron"));
  fields.push_back(base::field("layer_norm", layer_norm, "layer norm before the activation"));
  fields.push_back(base::field("plastic_bias", plastic_bias, "give the bias a fast part too"));
  fields.push_back(base::field("bias_rates", bias_rates,
                               "with plastic_bias: learn a decay and a rate for each neuron, or "
                               "one in all",
                               kBiasRates)
                       .choice_formerly("unit", "neuron"));
  if (recurrent_) {
    fields.push_back(base::field("update_gate", update_gate,
                                 "learn for each neuron and step how much of its activity stays; "
                                 "lets the unit track a state"));
    fields.push_back(base::field("write_gate", write_gate,
                                 "learn for each neuron and step, from the inputs, how much the "
                                 "fast weights grow; not with rule oja"));
    fields.push_back(base::field("decay_gate", decay_gate,
                                 "likewise how much of the fast weights stays; not with rule oja; "
                                 "norm must be pre"));
  }
  fields.push_back(
      base::field("initialisation", initialisation,
                  "what weights and biases start from: U(+-k) with k = 1/sqrt(fan-in), "
                  "or N(0, 1/fan-in) and N(0, 1)",
                  kInitialisations));
  const base::Range finite = {.least = std::numeric_limits<double>::lowest(),
                              .most = std::numeric_limits<double>::max()};
  fields.push_back(base::field("lambda_low", lambda_low, "the least initial decay", finite));
  fields.push_back(base::field("lambda_high", lambda_high, "the largest initial decay", finite));
  fields.push_back(base::field("gamma_low", gamma_low,
                               "the least initial growth rate, in units of k; set both below 0 to "
                               "start anti-Hebbian",
                               finite));
  fields.push_back(base::field("gamma_high", gamma_high,
                               "the largest initial growth rate, in units of k", finite));
  fields.push_back(base::field("bounded_lambda", bounded_lambda,
                               "keep the decay between 0 and 1 after each update; set it if fast "
                               "weights explode without a norm"));
  return fields;
}

StpnUnit::StpnUnit(int64_t input_size, const StpnOptions& options, const char* lambda_name,
                   const char* gamma_name)
    : Unit(input_size, options.hidden_size),
      variant_(variant_of(options)),
      initialisation_(static_cast<Initialisation>(
          choice_index("initialisation", options.initialisation, kInitialisations))),
      lambda_{options.lambda_low, options.lambda_high},
      gamma_{options.gamma_low, options.gamma_high},
      bounded_lambda_(options.bounded_lambda) {
  const int64_t H = hidden_size();
  STPN_CHECK(input_size > 0 && H > 0, "input_size is {} and hidden_size {}; wants both above 0",
             input_size, H);
  STPN_CHECK(options.clamp > 0, "clamp is {}, wants to be above 0", options.clamp);
  STPN_CHECK(lambda_.low <= lambda_.high, "lambda_low is {}, above lambda_high, {}", lambda_.low,
             lambda_.high);
  STPN_CHECK(gamma_.low <= gamma_.high, "gamma_low is {}, above gamma_high, {}", gamma_.low,
             gamma_.high);
  STPN_CHECK(variant_.rule != kernels::Rule::oja || !(variant_.write_gate || variant_.decay_gate),
             "write_gate and decay_gate do not go with rule \"oja\"");
  STPN_CHECK(kernels::is_complete_delta(variant_),
             "rule \"delta\" wants norm \"pre\", decay \"before_update\", presynaptic \"previous\" "
             "and connections \"all\"");
  STPN_CHECK(variant_.norm == kernels::Norm::pre || !variant_.decay_gate,
             "decay_gate wants norm \"pre\"");
  const kernels::Extent extent{.inputs = input_size, .hidden = H};
  const int64_t P = kernels::plastic_fan_in(extent, variant_);
  std::vector<int64_t> rates{H, P};
  if (variant_.rates == kernels::Rates::presynaptic) rates = {P};
  if (variant_.rates == kernels::Rates::scalar) rates = {1};

  auto parameter = [&](const char* name, const std::vector<int64_t>& shape) {
    return register_parameter(name, torch::zeros(shape));
  };
  weight_ = parameter("weight", {H, kernels::fan_in(extent, variant_)});
  if (options.bias) bias_ = parameter("bias", {H});
  rates_ = {parameter(lambda_name, rates), parameter(gamma_name, rates)};
  if (options.layer_norm) {
    layer_norm_weight_ = parameter("layer_norm_weight", {H});
    layer_norm_bias_ = parameter("layer_norm_bias", {H});
  }
  if (options.plastic_bias) {
    bias_lambda_ = parameter("bias_lambda", {variant_.scalar_bias_rates ? 1 : H});
    bias_gamma_ = parameter("bias_gamma", {variant_.scalar_bias_rates ? 1 : H});
  }
  if (options.update_gate) {
    update_weight_ = parameter("update_weight", {H, input_size + H});
    update_bias_ = parameter("update_bias", {H});
  }
  if (options.write_gate) write_weight_ = parameter("write_weight", {H, input_size});
  if (options.decay_gate) decay_weight_ = parameter("decay_weight", {H, input_size});
}

double StpnUnit::bound() const {
  return 1 / std::sqrt(static_cast<double>(variant_.recurrent ? hidden_size() : input_size()));
}

void StpnUnit::reset_rates(const Rates& parameters, uint64_t seed) {
  const double k = bound();
  uniform_(parameters.lambda, lambda_.low, lambda_.high, seed, 2);
  uniform_(parameters.gamma, gamma_.low * k, gamma_.high * k, seed, 3);
}

void StpnUnit::keep_in_bounds() {
  if (!bounded_lambda_) return;
  const torch::NoGradGuard no_grad;
  rates_.lambda.clamp_(0, 1);
  if (bias_lambda_.defined()) bias_lambda_.clamp_(0, 1);
}

void StpnUnit::reset_parameters(uint64_t seed) {
  const double k = bound();
  reset_layer(weight_, bias_, initialisation_, k, seed, 0);
  reset_rates(rates_, seed);
  if (bias_lambda_.defined()) {
    uniform_(bias_lambda_, lambda_.low, lambda_.high, seed, 4);
    uniform_(bias_gamma_, gamma_.low * k, gamma_.high * k, seed, 5);
  }
  if (update_weight_.defined()) {
    reset_layer(update_weight_, update_bias_, initialisation_, k, seed, 6);
    const torch::NoGradGuard no_grad;
    update_bias_.add_(kUpdateBiasStart);
  }
  if (write_weight_.defined()) {
    reset_layer(write_weight_, torch::Tensor(), initialisation_, k, seed, 8);
  }
  if (decay_weight_.defined()) {
    reset_layer(decay_weight_, torch::Tensor(), initialisation_, k, seed, 9);
  }
  torch::NoGradGuard no_grad;
  if (layer_norm_weight_.defined()) {
    layer_norm_weight_.fill_(1);
    layer_norm_bias_.zero_();
  }
}

StateShapes StpnUnit::state_shapes() const {
  const int64_t H = hidden_size();
  const kernels::Extent extent{.inputs = input_size(), .hidden = H};
  StateShapes shapes;
  if (variant_.recurrent) shapes.push_back({"h", {H}});
  shapes.push_back({"F", {H, kernels::plastic_fan_in(extent, variant_)}});
  if (variant_.plastic_bias) shapes.push_back({"beta", {H}});
  return shapes;
}

UnitOutput StpnUnit::forward(const UnitInput& input) {
  check_input(input);
  // The op knows by beta that the bias is plastic.
  const bool wants_state = input.state.empty() && variant_.plastic_bias;
  const State state = wants_state ? initial_state(input.x.size(1)) : input.state;
  const Rates rates = rates_of(rates_);
  ops::StpnCall call;
  call.variant = variant_;
  call.x = input.x;
  if (!state.empty()) {
    size_t next = 0;
    if (variant_.recurrent) call.h = state[next++].second;
    call.F = state[next++].second;
    if (variant_.plastic_bias) call.beta = state[next].second;
  }
  call.weight = weight_;
  call.bias = bias_;
  call.weight_lambda = rates.lambda;
  call.weight_gamma = rates.gamma;
  call.layer_norm_weight = layer_norm_weight_;
  call.layer_norm_bias = layer_norm_bias_;
  call.bias_lambda = bias_lambda_;
  call.bias_gamma = bias_gamma_;
  call.update_weight = update_weight_;
  call.update_bias = update_bias_;
  call.write_weight = write_weight_;
  call.decay_weight = decay_weight_;
  call.reset = input.reset;
  if (input.energy && measured().defined()) {
    call.measured = measured().slice(0, 0, weight_.size(1)).to(weight_.scalar_type());
  }
  call.energy = input.energy;
  call.final_states = input.wants_state;
  call.closed_loop = input.closed_loop;
  const ops::StpnResult result =
      variant_.recurrent ? ops::stpn_recurrent(call) : ops::stpn_feedforward(call);

  UnitOutput output;
  output.y = result.output;
  if (input.wants_state) {
    if (variant_.recurrent) output.state.emplace_back("h", last_activity(result.output));
    output.state.emplace_back("F", result.F);
    if (variant_.plastic_bias) output.state.emplace_back("beta", result.beta);
  }
  if (input.energy) output.energy = result.energy;
  return output;
}

}  // namespace stpn::nn
