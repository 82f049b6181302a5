// Fast weights as a torch module and as the torch op stpn::fast_weights. Equations and their
// source: stpn/kernels/fast_weights/equations.h.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/nn/signature_options.h"
#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct FastWeightsOptions : UnitOptions {
  int64_t hidden_size = 20;
  FAST_WEIGHTS_OPTIONS(STPN_CONFIG_MEMBER)
  bool layer_norm = true;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: weight (H, I+H), bias (H) and, with layer norm, layer_norm_weight and
// layer_norm_bias (H). State: h (B, H), A (B, H, H).
// Initial values: weight, bias ~ U(+-1/sqrt(H)); layer norm 1 and 0.
// Energy of a neuron: sum over j of |W_ij| z_j^2, z = [x[t]; h[t-1]], and over inner steps and j of
// |A_ij| s_j^2.
class FastWeights : public Unit {
 public:
  FastWeights(int64_t input_size, const FastWeightsOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  StateShapes state_shapes() const override;
  void reset_parameters(uint64_t seed) override;
  bool has_gpu_kernels() const override { return true; }

 private:
  kernels::FastWeightsVariant variant_;
  torch::Tensor weight_, bias_, layer_norm_weight_, layer_norm_bias_;
};

}  // namespace stpn::nn
