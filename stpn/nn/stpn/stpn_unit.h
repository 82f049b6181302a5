// What the modules of both short-term plasticity neurons, recurrent and feed-forward, share:
// options, parameters, the call of the op. Equations, variants and their sources:
// stpn/kernels/stpn/equations.h.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "stpn/kernels/stpn/equations.h"
#include "stpn/nn/signature_options.h"
#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct StpnOptions : UnitOptions {
  int64_t hidden_size;
  STPN_OPTIONS(STPN_CONFIG_MEMBER)
  std::string rates = "synapse";      // synapse | presynaptic | scalar
  std::string bias_rates = "neuron";  // neuron | scalar; of the plastic bias
  bool bias = true;
  bool layer_norm = false;
  bool plastic_bias = false;
  bool update_gate = false, write_gate = false, decay_gate = false;  // if recurrent
  std::string initialisation = "uniform";                            // uniform | normal
  double lambda_low = 0, lambda_high = 1;
  double gamma_low = -0.001, gamma_high = 0.001;  // in units of k
  bool bounded_lambda = false;

  std::vector<base::Field> fields() override;
  bool recurrent() const { return recurrent_; }
  const kernels::Signature& signature() const {
    return recurrent_ ? kernels::kStpnRecurrent : kernels::kStpnFeedforward;
  }

 protected:
  StpnOptions(bool recurrent, int64_t neurons) : hidden_size(neurons), recurrent_(recurrent) {}

 private:
  bool recurrent_;
};

// Parameters by name, undefined where the variant has none; N = I+H if recurrent, else I:
//   weight (H, N), bias (H), weight_lambda and weight_gamma (H, P), (P) or (1), layer_norm_weight
//   and layer_norm_bias (H), bias_lambda and bias_gamma (H) or (1), update_weight (H, N) and
//   update_bias (H), write_weight and decay_weight (H, I).
// State: h (B, H) if recurrent, F (B, H, P) and, with plastic bias, beta (B, H).
// Initial values: weight, bias ~ U(+-k), k = 1/sqrt(H) if recurrent, else 1/sqrt(I), or normal;
// lambdas ~ U(lambda_low, lambda_high); gammas ~ U(gamma_low k, gamma_high k); layer norm 1 and 0;
// weights and bias of gates as those of the unit, but update_bias 2 lower.
// With `bounded_lambda`, keep_in_bounds moves lambdas to [0, 1].
class StpnUnit : public Unit {
 public:
  UnitOutput forward(const UnitInput& input) override;
  StateShapes state_shapes() const override;
  void reset_parameters(uint64_t seed) override;
  bool has_gpu_kernels() const override { return true; }
  Initialisation initialisation() const override { return initialisation_; }
  void keep_in_bounds() override;

 protected:
  struct Rates {
    torch::Tensor lambda, gamma;
  };

  // Names of the parameters that Lambda and Gamma are computed from.
  StpnUnit(int64_t input_size, const StpnOptions& options,
           const char* lambda_name = "weight_lambda", const char* gamma_name = "weight_gamma");

  // Lambda and Gamma, computed from those parameters.
  virtual Rates rates_of(const Rates& parameters) const { return parameters; }
  virtual void reset_rates(const Rates& parameters, uint64_t seed);

 private:
  struct Interval {
    double low, high;
  };

  double bound() const;  // k

  kernels::StpnVariant variant_;
  Initialisation initialisation_;
  Interval lambda_, gamma_;  // initial values; gamma in units of k
  bool bounded_lambda_;
  torch::Tensor weight_, bias_;
  Rates rates_;
  torch::Tensor layer_norm_weight_, layer_norm_bias_, bias_lambda_, bias_gamma_;
  torch::Tensor update_weight_, update_bias_, write_weight_, decay_weight_;
};

}  // namespace stpn::nn
