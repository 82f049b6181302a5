// Long short-term memory: libtorch's own LSTM behind the Unit interface, the baseline.
//
//   i, f, g, o = W_ih x[t] + b_ih + W_hh h[t-1] + b_hh      four gates, in this order
//   c[t] = sigmoid(f) * c[t-1] + sigmoid(i) * tanh(g);   h[t] = sigmoid(o) * tanh(c[t])
//
// Energy of a gate's neuron: sum over j of |W_ij| z_j^2, z = [x[t]; h[t-1]], for all four gates.
//
// Hochreiter, Schmidhuber: Long Short-Term Memory, Neural Computation 1997, with forget gates.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct LstmOptions : UnitOptions {
  int64_t hidden_size = 9;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: weight_ih (4H, I), weight_hh (4H, H), bias_ih (4H), bias_hh (4H), all
// ~ U(+-1/sqrt(H)). State: h (B, H), c (B, H).
class Lstm : public Unit {
 public:
  Lstm(int64_t input_size, const LstmOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  State initial_state(int64_t batch) const override;
  void reset_parameters(uint64_t seed) override;

 private:
  // h_before (T, B, H): h[t-1] of each step.
  torch::Tensor energy(const torch::Tensor& x, const torch::Tensor& h_before) const;

  torch::Tensor weight_ih_, weight_hh_, bias_ih_, bias_hh_;
};

}  // namespace stpn::nn
