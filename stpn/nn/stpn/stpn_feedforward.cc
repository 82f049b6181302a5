#include "stpn/nn/stpn/stpn_feedforward.h"

#include <cmath>

#include "stpn/base/error.h"

namespace stpn::nn {
namespace {

const std::vector<std::string> kParametrisations{"plain", "hebbff"};

bool is_hebbff(const StpnFeedforwardOptions& o) {
  const bool hebbff = choice_index("parametrisation", o.parametrisation, kParametrisations) == 1;
  STPN_CHECK(!hebbff || o.rates == "scalar",
             "parametrisation \"hebbff\" learns one decay and one rate: set rates to \"scalar\"");
  STPN_CHECK(!hebbff || !o.bounded_lambda,
             "parametrisation \"hebbff\" has a decay between 0 and 1 anyway: set bounded_lambda to "
             "false");
  return hebbff;
}

}  // namespace

std::vector<base::Field> StpnFeedforwardOptions::fields() {
  std::vector<base::Field> fields = StpnOptions::fields();
  fields.push_back(base::field(
      "parametrisation", parametrisation,
      "learn decay and rate as they are, or (hebbff; rates must be scalar) as a logit and a log",
      kParametrisations));
  return fields;
}

std::shared_ptr<Unit> StpnFeedforwardOptions::make(int64_t input_size) const {
  return make_unit<StpnFeedforward>(input_size, *this);
}

StpnFeedforward::StpnFeedforward(int64_t input_size, const StpnFeedforwardOptions& options)
    : StpnFeedforward(input_size, options, is_hebbff(options)) {}

StpnFeedforward::StpnFeedforward(int64_t input_size, const StpnFeedforwardOptions& options,
                                 bool hebbff)
    : StpnUnit(input_size, options, hebbff ? "weight_lambda_logit" : "weight_lambda",
               hebbff ? "weight_log_gamma" : "weight_gamma"),
      hebbff_(hebbff) {}

StpnUnit::Rates StpnFeedforward::rates_of(const Rates& parameters) const {
  if (!hebbff_) return parameters;
  return {torch::sigmoid(parameters.lambda), -torch::exp(parameters.gamma)};
}

void StpnFeedforward::reset_rates(const Rates& parameters, uint64_t seed) {
  if (!hebbff_) return StpnUnit::reset_rates(parameters, seed);
  const torch::NoGradGuard no_grad;
  parameters.lambda.fill_(std::log(0.99 / 0.01));
  parameters.gamma.fill_(std::log(5.0 / static_cast<double>(hidden_size())));
}

}  // namespace stpn::nn
