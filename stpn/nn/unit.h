// What tasks, models and trainers see of a unit. Adding a unit touches none of them.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stpn/kernels/closed_loop.h"
#include "stpn/nn/initialisation.h"

namespace stpn::nn {

// A unit's memory between two calls: named tensors, each (B, ...), in the order of
// Unit::state_shapes.
using State = std::vector<std::pair<std::string, torch::Tensor>>;
// Of each state tensor its name and its shape for one sample.
using StateShapes = std::vector<std::pair<std::string, std::vector<int64_t>>>;

struct UnitInput {
  torch::Tensor x = {};  // (T, B, I)
  State state = {};      // empty: the initial one
  // (T, B) bool; true: the sample's state is set to zero before step t. Undefined: no resets.
  torch::Tensor reset = {};
  bool energy = false;      // also measure energy
  bool wants_state = true;  // false: the state after the last step may be left out of the output
  // Receives the outputs of each step and writes x and reset of the next, which have to be
  // contiguous then; x must not require a gradient. Null: x and reset are complete.
  kernels::ClosedLoop* closed_loop = nullptr;
};

struct UnitOutput {
  torch::Tensor y;       // (T, B, H)
  State state;           // after the last step; differentiable; may be empty if it is not wanted
  torch::Tensor energy;  // (T, B, H), undefined unless asked for; of a neuron with all its gates;
                         // differentiable
};

// If there is a closed loop: runs `forward` one step at a time, without gradients, and calls the
// loop after each, so that x and reset are complete. Returns the input without the loop.
UnitInput run_loop(UnitInput input, const std::function<UnitOutput(const UnitInput&)>& forward);

// y[T-1] as the state h. A copy, because a view would keep the whole sequence in memory.
inline torch::Tensor last_activity(const torch::Tensor& y) { return y[-1].clone(); }

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

  virtual StateShapes state_shapes() const = 0;
  // Zeros for `batch` samples, of the parameters' dtype.
  State initial_state(int64_t batch) const;

  // Draws all parameters anew from the counter-based generator: same seed, same bits, on every
  // machine.
  virtual void reset_parameters(uint64_t seed) = 0;
  // What its weights and biases start from then. The head of a classifier starts from the same.
  virtual Initialisation initialisation() const { return Initialisation::uniform; }

  // Moves parameters that an update has taken out of their bounds to the nearest bound. Trainers
  // call it after each update. Most units have no such bounds.
  virtual void keep_in_bounds() {}

  // Whether ops::KernelDeviceGuard can have it run on a GPU.
  virtual bool has_gpu_kernels() const { return false; }

  // A unit of its own with the same options, parameters and inputs left out of the energy. Throws
  // base::UserError if this one was not made by its options' make(), or for a device that is not
  // the CPU.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

  // Leaves these inputs out of the energy from now on. Throws base::UserError unless each is in [0,
  // input_size).
  virtual void leave_out_of_energy(const std::vector<int64_t>& inputs);

 protected:
  // (I + H) float: 1 for presynaptic inputs that count for the energy, else 0; undefined if all do.
  // The last H, for h[t-1], are always 1.
  const torch::Tensor& measured() const { return measured_; }

  // Throws base::UserError unless x is (T, B, input_size) of the parameters' dtype and on the CPU,
  // T and B at least 1, reset undefined or (T, B) bool, and the state tensors have the names and
  // shapes of state_shapes.
  void check_input(const UnitInput& input) const;

  // For units that cannot call the closed loop between steps of a sequence: run_loop. Costs a
  // second forward pass.
  UnitInput walk_through(UnitInput input);

 private:
  template <class U, class Options>
  friend std::shared_ptr<Unit> make_unit(int64_t input_size, const Options& options);

  // A parameter, for its dtype. Not parameters(), which makes a list with names at every call.
  virtual const torch::Tensor& any_parameter() const { return parameters_.front().value(); }

  int64_t input_size_;
  int64_t hidden_size_;
  std::vector<int64_t> left_out_;  // of the energy
  torch::Tensor measured_;
  std::function<std::shared_ptr<Unit>()> make_another_;  // of the same options
};

// A unit of type U; it can be cloned.
template <class U, class Options>
std::shared_ptr<Unit> make_unit(int64_t input_size, const Options& options) {
  std::shared_ptr<Unit> unit = std::make_shared<U>(input_size, options);
  unit->make_another_ = [input_size, options] { return make_unit<U>(input_size, options); };
  return unit;
}

}  // namespace stpn::nn
