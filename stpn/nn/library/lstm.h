// Long short-term memory, the baseline. The same as torch.nn.LSTM with one layer.
//
//   i, f, g, o = W_ih x[t] + b_ih + W_hh h[t-1] + b_hh      four gates, in this order
//   c[t] = sigmoid(f) * c[t-1] + sigmoid(i) * tanh(g);   h[t] = sigmoid(o) * tanh(c[t])
//
// Option normalised, and energy (of all four gates): recurrence.h.
//
// Hochreiter, Schmidhuber: Long Short-Term Memory, Neural Computation 1997, with forget gates.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/nn/library/recurrence.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct LstmOptions : UnitOptions {
  int64_t hidden_size = 9;
  bool normalised = false;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: weight_ih (4H, I), weight_hh (4H, H), bias_ih (4H), bias_hh (4H). State: h
// (B, H), c (B, H).
class Lstm : public Recurrence {
 public:
  Lstm(int64_t input_size, const LstmOptions& options);
};

}  // namespace stpn::nn
