#include "stpn/nn/unit.h"

#include <sstream>
#include <utility>

#include "stpn/base/error.h"

namespace stpn::nn {
namespace {

std::string shape_of(const torch::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.sizes();
  return text.str();
}

void check_tensor(const torch::Tensor& tensor, const char* kind, const std::string& name,
                  const torch::Tensor& like) {
  STPN_CHECK(tensor.defined(), "{}{} is undefined", kind, name);
  STPN_CHECK(tensor.device().is_cpu(), "{}{} is on {}: move it to the CPU", kind, name,
             tensor.device().str());
  STPN_CHECK(tensor.scalar_type() == like.scalar_type(), "{}{} is {}, the parameters are {}", kind,
             name, c10::toString(tensor.scalar_type()), c10::toString(like.scalar_type()));
}

}  // namespace

int64_t parameter_count(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters()) count += parameter.numel();
  return count;
}

State Unit::initial_state(int64_t batch) const {
  State state;
  for (auto [name, shape] : state_shapes()) {
    shape.insert(shape.begin(), batch);
    state.emplace_back(name, torch::zeros(shape, any_parameter().options().requires_grad(false)));
  }
  return state;
}

std::shared_ptr<torch::nn::Module> Unit::clone(const std::optional<torch::Device>& device) const {
  STPN_CHECK(!device || device->is_cpu(), "clone: the device is {}: units run on the CPU",
             device->str());
  STPN_CHECK(make_another_ != nullptr,
             "clone: only a unit made by the make() of its options can be cloned");
  std::shared_ptr<Unit> copy = make_another_();
  copy->to(any_parameter().scalar_type());
  copy->train(is_training());
  copy->leave_out_of_energy(left_out_);
  const torch::NoGradGuard no_grad;
  const std::vector<torch::Tensor> from = parameters(), to = copy->parameters();
  for (size_t i = 0; i < from.size(); ++i) {
    to[i].copy_(from[i]);
    to[i].set_requires_grad(from[i].requires_grad());
  }
  return copy;
}

void Unit::leave_out_of_energy(const std::vector<int64_t>& inputs) {
  auto measured = torch::ones({input_size_ + hidden_size_});
  for (const int64_t input : inputs) {
    STPN_CHECK(input >= 0 && input < input_size_,
               "there is no input {}: the unit has inputs 0 to {}", input, input_size_ - 1);
    measured[input] = 0;
  }
  left_out_ = inputs;
  measured_ = inputs.empty() ? torch::Tensor() : measured;
}

UnitInput run_loop(UnitInput input, const std::function<UnitOutput(const UnitInput&)>& forward) {
  kernels::ClosedLoop* const loop = std::exchange(input.closed_loop, nullptr);
  if (loop == nullptr) return input;
  const torch::NoGradGuard no_grad;
  State state = input.state;
  const int64_t batch = input.x.size(1);
  for (int64_t t = 0; t < input.x.size(0); ++t) {
    UnitInput step;
    step.x = input.x.slice(0, t, t + 1);
    step.state = state;
    if (input.reset.defined()) step.reset = input.reset.slice(0, t, t + 1);
    UnitOutput output = forward(step);
    const torch::Tensor h = output.y.contiguous();
    if (h.scalar_type() == torch::kFloat) {
      loop->after_step(t, 0, batch, h.const_data_ptr<float>());
    } else {
      loop->after_step(t, 0, batch, h.const_data_ptr<double>());
    }
    state = std::move(output.state);
  }
  return input;
}

UnitInput Unit::walk_through(UnitInput input) {
  return run_loop(std::move(input), [this](const UnitInput& step) { return forward(step); });
}

void Unit::check_input(const UnitInput& input) const {
  const torch::Tensor& like = any_parameter();
  check_tensor(input.x, "", "x", like);
  STPN_CHECK(input.x.dim() == 3 && input.x.size(0) >= 1 && input.x.size(1) >= 1 &&
                 input.x.size(2) == input_size_,
             "x is {}, it must be (T, B, {}) with T and B at least 1", shape_of(input.x),
             input_size_);
  const int64_t steps = input.x.size(0);
  const int64_t batch = input.x.size(1);

  STPN_CHECK(
      input.closed_loop == nullptr || (input.x.is_contiguous() && !input.x.requires_grad() &&
                                       (!input.reset.defined() || input.reset.is_contiguous())),
      "in a closed loop x and reset are written as it goes: they must be contiguous, and x "
      "without gradient");
  if (input.reset.defined()) {
    STPN_CHECK(input.reset.scalar_type() == torch::kBool && input.reset.device().is_cpu() &&
                   input.reset.sizes() == torch::IntArrayRef({steps, batch}),
               "reset is {} {} on {}, it must be bool ({}, {}) on the CPU",
               c10::toString(input.reset.scalar_type()), shape_of(input.reset),
               input.reset.device().str(), steps, batch);
  }

  if (input.state.empty()) return;
  const StateShapes expected = state_shapes();
  STPN_CHECK(input.state.size() == expected.size(), "the state has {} tensors, it must have {}",
             input.state.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& [name, tensor] = input.state[i];
    STPN_CHECK(name == expected[i].first, "state tensor {} is called {}, it must be {}", i, name,
               expected[i].first);
    check_tensor(tensor, "state ", name, like);
    std::vector<int64_t> shape = expected[i].second;
    shape.insert(shape.begin(), batch);
    STPN_CHECK(tensor.sizes() == torch::IntArrayRef(shape), "state {} is {}, it must be {}", name,
               shape_of(tensor), c10::str(torch::IntArrayRef(shape)));
  }
}

}  // namespace stpn::nn
