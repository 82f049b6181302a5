// What tasks, models and trainers see of a unit. Adding a unit touches none of them.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "stpn/kernels/closed_loop.h"

namespace stpn::nn {

// A unit's memory between two calls: named tensors, each (B, ...), in the order of `initial_state`.
using State = std::vector<std::pair<std::string, torch::Tensor>>;

struct UnitInput {
  torch::Tensor x;  // (T, B, I)
  State state;      // empty: the initial one
  torch::Tensor
      reset;  // (T, B) bool, or undefined: none. True: that sample's state is zeroed before step t
  bool energy = false;  // also measure energy (not differentiable)
  // Answers the outputs of each step with inputs and reset marks of the next: both are contiguous
  // then, and x needs no gradient. Null: they are complete.
  kernels::ClosedLoop* closed_loop = nullptr;
};

struct UnitOutput {
  torch::Tensor y;       // (T, B, H)
  State state;           // after the last step; differentiable
  torch::Tensor energy;  // (T, B, neurons), undefined unless asked for; neurons = H (times gates:
                         // LSTM 4H, GRU 3H)
};

// Of all parameters of a unit or a model.
int64_t parameter_count(const torch::nn::Module& module);

class Unit : public torch::nn::Module {
 public:
  Unit(int64_t input_size, int64_t hidden_size)
      : input_size_(input_size), hidden_size_(hidden_size) {}

  int64_t input_size() const { return input_size_; }
  int64_t hidden_size() const { return hidden_size_; }

  // Runs a whole sequence. Throws base::UserError for a wrong shape, dtype or device.
  virtual UnitOutput forward(const UnitInput& input) = 0;

  // Zeros for `batch` samples, of the parameters' dtype.
  virtual State initial_state(int64_t batch) const = 0;

  // Draws all parameters anew from the counter-based generator: same seed, same bits, on every
  // machine.
  virtual void reset_parameters(uint64_t seed) = 0;

  // Leaves these inputs out of the energy from now on. Throws base::UserError unless each is in [0,
  // input_size).
  void leave_out_of_energy(const std::vector<int64_t>& inputs);

 protected:
  // (I + H) of 0 or 1 in float, or undefined when all inputs count. The last H, all 1, are for the
  // units that h[t-1] drives.
  const torch::Tensor& measured() const { return measured_; }

  // Throws base::UserError unless x is (T, B, input_size) of the parameters' dtype and on the CPU,
  // T and B at least 1, reset undefined or (T, B) bool, and each state tensor has the name and
  // shape of initial_state (B).
  void check_input(const UnitInput& input) const;

  // For units that cannot be told of between steps: goes through the sequence a step at a time,
  // without gradients, so that input.closed_loop has written all of it; what is returned is without
  // a loop. Costs another forward pass.
  UnitInput walk_through(UnitInput input);

 private:
  int64_t input_size_;
  int64_t hidden_size_;
  torch::Tensor measured_;
};

}  // namespace stpn::nn
