// The recurrent short-term plasticity neuron as a torch module and as the torch op
// stpn::stpn_recurrent. Equations, variants and their sources: stpn/kernels/stpn_recurrent.h.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/kernels/stpn_recurrent.h"
#include "stpn/nn/stpn_variant.h"
#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct StpnRecurrentOptions : UnitOptions, StpnVariant {
  int64_t hidden_size = 11;
  std::string rates = "synapse";    // synapse | source | scalar
  std::string bias_rates = "unit";  // unit | scalar; of the plastic bias
  bool bias = true;
  bool layer_norm = false;
  bool plastic_bias = false;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// The kernel's variant that the options mean. Throws base::UserError for a word that is none of the
// choices.
kernels::StpnRecurrentVariant variant_of(const StpnRecurrentOptions& options);

// Parameters by name, undefined where the variant has none:
//   weight (H, I+H), bias (H), weight_lambda and weight_gamma (H, P), (P) or (1), layer_norm_weight
//   and layer_norm_bias (H), bias_lambda and bias_gamma (H) or (1).
// State: h (B, H), F (B, H, P) and, with plastic bias, beta (B, H).
// Initial values: weight, bias ~ U(+-k), k = 1/sqrt(H); lambdas ~ U(0, 1); gammas ~ U(+-0.001 k);
// layer norm 1 and 0.
class StpnRecurrent : public Unit {
 public:
  StpnRecurrent(int64_t input_size, const StpnRecurrentOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  State initial_state(int64_t batch) const override;
  void reset_parameters(uint64_t seed) override;

 private:
  StpnRecurrentOptions options_;
  torch::Tensor weight_, bias_, weight_lambda_, weight_gamma_;
  torch::Tensor layer_norm_weight_, layer_norm_bias_, bias_lambda_, bias_gamma_;
};

}  // namespace stpn::nn
