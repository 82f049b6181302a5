// What the recurrent units with fixed weights have in common, LSTM, GRU and RNN: weights that may
// be normalised, and energy. A unit adds its cell, its sizes and its names. The equations are in
// stpn/kernels/fixed_weights/equations.h.
//
//   W = [weight_ih weight_hh]     R = gates * H rows, one for each neuron of each gate
//   normalised: each row of W is divided by its 2-norm before use; biases are not
//
// Energy of a neuron at a step: the sum of |W_ij| z_j^2 over j and its rows i of W, one a gate,
// where z = [x[t]; h[t-1]] and W is as used.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/kernels/fixed_weights/signature.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

// The option `normalised` of the units that have it.
base::Field normalised_field(bool& normalised);

struct RecurrenceLayout {
  kernels::Cell cell;
  std::vector<std::string> biases;  // each (R): of the inputs, of h[t-1]; or one for both
  std::vector<std::string> state;   // each (B, H); the first is h
  bool normalised = false;
};

// Parameters: weight_ih (R, I), weight_hh (R, H) and the biases, all ~ U(+-1/sqrt(H)).
class Recurrence : public Unit {
 public:
  UnitOutput forward(const UnitInput& input) final;
  StateShapes state_shapes() const final;
  void reset_parameters(uint64_t seed) final;

 protected:
  Recurrence(int64_t input_size, int64_t hidden_size, RecurrenceLayout layout);

 private:
  RecurrenceLayout layout_;
  torch::Tensor weight_ih_, weight_hh_;
  std::vector<torch::Tensor> biases_;
};

}  // namespace stpn::nn
