// The plain recurrent network of tanh neurons: torch.nn.RNN with one layer and one bias.
//
//   h[t] = tanh(W_ih x[t] + W_hh h[t-1] + b)
//
// Option normalised, and energy: recurrence.h.
//
// Elman: Finding Structure in Time, Cognitive Science 1990.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/nn/library/recurrence.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct RnnOptions : UnitOptions {
  int64_t hidden_size = 20;
  bool normalised = false;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: weight_ih (H, I), weight_hh (H, H), bias (H). State: h (B, H).
class Rnn : public Recurrence {
 public:
  Rnn(int64_t input_size, const RnnOptions& options);
};

}  // namespace stpn::nn
