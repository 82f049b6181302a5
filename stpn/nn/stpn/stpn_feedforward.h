// The feed-forward short-term plasticity neuron as a torch module; its op is
// stpn::stpn_feedforward. It is the recurrent one without the recurrent synapses: z[t] = x[t].
// Equations, variants and their sources: stpn/kernels/stpn/equations.h.
//
// With the parametrisation `hebbff`, one decay and one rate for all synapses are learnt as
//
//   Lambda = sigmoid(weight_lambda_logit);   Gamma = -exp(weight_log_gamma)
//
// so that decay lies between 0 and 1 and learning is anti-Hebbian. Norm none and activation sigmoid
// then make the unit HebbFF: Tyulmankov, Yang, Abbott, Neuron 110 (2022).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/stpn/stpn_unit.h"

namespace stpn::nn {

struct StpnFeedforwardOptions : StpnOptions {
  std::string parametrisation = "plain";  // plain | hebbff

  StpnFeedforwardOptions() : StpnOptions(/*recurrent=*/false, /*neurons=*/13) {}
  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// With `hebbff`, weight_lambda_logit and weight_log_gamma (1) stand in for weight_lambda and
// weight_gamma; they start where Lambda = 0.99 and Gamma = -5/H, whatever the options of initial
// rates. REQUIRES of `hebbff`: rates "scalar", not bounded_lambda.
class StpnFeedforward : public StpnUnit {
 public:
  StpnFeedforward(int64_t input_size, const StpnFeedforwardOptions& options);

 private:
  StpnFeedforward(int64_t input_size, const StpnFeedforwardOptions& options, bool hebbff);

  Rates rates_of(const Rates& parameters) const override;
  void reset_rates(const Rates& parameters, uint64_t seed) override;

  bool hebbff_;
};

}  // namespace stpn::nn
