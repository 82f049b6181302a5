// Gated recurrent unit. The same as torch.nn.GRU with one layer.
//
//   r    = sigmoid(W_ir x[t] + b_ir + W_hr h[t-1] + b_hr)            three gates, in this order
//   u    = sigmoid(W_iu x[t] + b_iu + W_hu h[t-1] + b_hu)
//   n    = tanh(W_in x[t] + b_in + r * (W_hn h[t-1] + b_hn))
//   h[t] = (1 - u) * n + u * h[t-1]
//
// In the paper the reset gate r multiplies h[t-1] before the recurrent weights W_hn; in torch, and
// so here, it multiplies W_hn h[t-1] + b_hn. The presynaptic input of these synapses is
// therefore h[t-1] itself, and their energy is computed like that of the others
// (recurrence.h).
//
// Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/nn/library/recurrence.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct GruOptions : UnitOptions {
  int64_t hidden_size = 12;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: weight_ih (3H, I), weight_hh (3H, H), bias_ih (3H), bias_hh (3H). State: h
// (B, H).
class Gru : public Recurrence {
 public:
  Gru(int64_t input_size, const GruOptions& options);
};

}  // namespace stpn::nn
