#include "stpn/ops/call_node.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/basic_ops.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <utility>

namespace stpn::ops {
namespace {

// The tensors that autograd counts as inputs: those given that have a gradient, in order.
Tensors inputs_of(const UnitOp& op, const Call& call) {
  Tensors inputs;
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    if (op.signature().tensors[row].differentiable() && call.tensors[row].defined()) {
      inputs.push_back(call.tensors[row]);
    }
  }
  return inputs;
}

}  // namespace

void refuse_second_derivative(const UnitOp& op, const Call& call, const Tensors& grads,
                              const Tensors& gradients) {
  if (!at::GradMode::is_enabled()) return;
  refuse_second_derivative(op.signature().name, inputs_of(op, call), grads, gradients);
}

void refuse_second_derivative(const char* name, Tensors inputs, const Tensors& grads,
                              const Tensors& gradients) {
  if (!at::GradMode::is_enabled()) return;
  inputs.insert(inputs.end(), grads.begin(), grads.end());
  if (!torch::autograd::compute_requires_grad(inputs)) return;
  const auto node = c10::make_intrusive<torch::autograd::Error>(
      std::string(name) +
          ": second derivatives are not implemented; differentiate once, without create_graph",
      torch::autograd::collect_next_edges(inputs));
  for (const at::Tensor& gradient : gradients) {
    if (gradient.defined()) torch::autograd::set_history(gradient, node);
  }
}

CallNode::CallNode(const UnitOp& op, const Call& call, std::shared_ptr<const PreparedCall> prepared,
                   Backend backend)
    : torch::autograd::Node(torch::autograd::collect_next_edges(inputs_of(op, call))),
      op_(op),
      prepared_(std::move(prepared)),
      backend_(backend),
      options_(call.options),
      energy_(call.energy),
      reset_(call.reset, /*is_output=*/false) {
  tensors_.reserve(call.tensors.size());
  for (const at::Tensor& tensor : call.tensors) tensors_.emplace_back(tensor, /*is_output=*/false);
}

void CallNode::attach_to(const Tensors& results) {
  const size_t differentiable = results.size() - (energy_ ? 1 : 2);
  for (size_t k = 0; k < differentiable; ++k) {
    torch::autograd::set_history(results[k], getptr());
  }
  output_ = torch::autograd::SavedVariable(results.front(), /*is_output=*/true);
  saved_ = torch::autograd::SavedVariable(results.back(), /*is_output=*/false);
}

std::string CallNode::name() const { return std::string(op_.signature().name) + "_backward"; }

Tensors CallNode::apply(Tensors&& grads) {
  const std::lock_guard lock(mutex_);
  Call call;
  call.options = options_;
  call.reset = reset_.unpack();
  call.tensors.reserve(tensors_.size());
  std::vector<bool> needed(tensors_.size(), false);
  size_t inputs = 0;
  for (size_t row = 0; row < tensors_.size(); ++row) {
    call.tensors.push_back(tensors_[row].unpack());
    if (!call.tensors[row].defined() || !op_.signature().tensors[row].differentiable()) continue;
    needed[row] = task_should_compute_output(inputs++);
  }
  if (!energy_) grads.emplace_back();
  Tensors found = op_.differentiate(call, backend_, prepared_.get(), grads,
                                    output_.unpack(getptr()), saved_.unpack(), needed);
  Tensors gradients;
  gradients.reserve(inputs);
  for (size_t row = 0; row < tensors_.size(); ++row) {
    if (call.tensors[row].defined() && op_.signature().tensors[row].differentiable()) {
      gradients.push_back(std::move(found[row]));
    }
  }
  refuse_second_derivative(op_, call, grads, gradients);
  return gradients;
}

void CallNode::release_variables() {
  const std::lock_guard lock(mutex_);
  for (torch::autograd::SavedVariable& saved : tensors_) saved.reset_data();
  reset_.reset_data();
  output_.reset_data();
  saved_.reset_data();
}

}  // namespace stpn::ops
