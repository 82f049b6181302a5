// Backpropamine as a torch module and as the torch op stpn::backpropamine. Equations, variants and
// their source: stpn/kernels/backpropamine/equations.h.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/nn/signature_options.h"
#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct BackpropamineOptions : UnitOptions {
  int64_t hidden_size = 17;
  BACKPROPAMINE_OPTIONS(STPN_CONFIG_MEMBER)

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name, undefined where the variant has none:
//   weight_ih (H, I), bias (H), weight_hh (H, H), alpha (H, H), modulator_weight (H),
//   modulator_bias (1), rate (1).
// State: h (B, H), P (B, H, H) and, for `modul`, E (B, H, H).
// Initial values: weight_ih, bias ~ U(+-1/sqrt(I)); weight_hh, alpha ~ 0.01 U(0, 1);
// modulator_weight, modulator_bias ~ U(+-1/sqrt(H)); rate 0.01.
// Energy of a neuron: sum over inputs of |weight_ih| x^2, and over neurons j of
// |weight_hh_ij + alpha_ij P_ij| h_j[t-1]^2.
class Backpropamine : public Unit {
 public:
  Backpropamine(int64_t input_size, const BackpropamineOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  StateShapes state_shapes() const override;
  void reset_parameters(uint64_t seed) override;
  bool has_gpu_kernels() const override { return true; }

 private:
  kernels::BackpropamineVariant variant_;
  torch::Tensor weight_ih_, bias_, weight_hh_, alpha_;
  torch::Tensor modulator_weight_, modulator_bias_, rate_;
};

}  // namespace stpn::nn
