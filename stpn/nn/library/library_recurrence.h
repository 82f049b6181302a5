// What the units made of libtorch's recurrences have in common: the loop over resets, weights that
// may be normalised, and energy. A unit adds its sizes, its names and the library's call.
//
//   W = [weight_ih weight_hh]     R = gates * H rows, one for each neuron of each gate
//   normalised: each row of W is divided by its 2-norm before use; biases are not
//
// Energy of a row at a step: sum over j of |W_ij| z_j^2, z = [x[t]; h[t-1]], with W as used.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

// The option `normalised` of the units that have it.
base::Field normalised_field(bool& normalised);

struct LibraryLayout {
  int64_t gates;
  std::vector<std::string> biases;  // each (R)
  std::vector<std::string> state;   // each (B, H); the first is h
  bool normalised = false;
};

// Parameters: weight_ih (R, I), weight_hh (R, H) and the biases, all ~ U(+-1/sqrt(H)).
class LibraryRecurrence : public Unit {
 public:
  UnitOutput forward(const UnitInput& input) final;
  StateShapes state_shapes() const final;
  void reset_parameters(uint64_t seed) final;

 protected:
  using Tensors = std::vector<torch::Tensor>;

  LibraryRecurrence(int64_t input_size, int64_t hidden_size, LibraryLayout layout);

 private:
  // A run of steps without resets. `states` are (1, B, H); `parameters` are weight_ih, weight_hh
  // and the biases. Gives y and the states after the last step.
  virtual Tensors run(const torch::Tensor& x, const Tensors& states,
                      const Tensors& parameters) const = 0;

  LibraryLayout layout_;
  torch::Tensor weight_ih_, weight_hh_;
  Tensors biases_;
};

}  // namespace stpn::nn
