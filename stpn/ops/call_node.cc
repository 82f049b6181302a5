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

// The same gradients; to differentiate them is an error.
Tensors refuse_second_derivative(const std::string& op, Tensors gradients) {
  for (at::Tensor& gradient : gradients) {
    if (gradient.defined()) gradient.set_requires_grad(true);
  }
  torch::autograd::DelayedError error(
      op + ": second derivatives are not implemented; differentiate once, without create_graph",
      static_cast<int64_t>(gradients.size()));
  return error.apply(std::move(gradients));
}

}  // namespace

CallNode::CallNode(const UnitOp& op, const Call& call, std::shared_ptr<const PreparedCall> prepared,
                   Backend backend)
    : torch::autograd::Node(torch::autograd::collect_next_edges(inputs_of(op, call))),
      op_(op),
      prepared_(std::move(prepared)),
      backend_(backend),
      options_(call.options),
      reset_(call.reset, /*is_output=*/false) {
  tensors_.reserve(call.tensors.size());
  for (const at::Tensor& tensor : call.tensors) tensors_.emplace_back(tensor, /*is_output=*/false);
}

void CallNode::attach_to(const Tensors& results) {
  for (size_t k = 0; k + 2 < results.size(); ++k) {
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
  Tensors found = op_.differentiate(call, backend_, prepared_.get(), grads,
                                    output_.unpack(getptr()), saved_.unpack(), needed);
  Tensors gradients;
  gradients.reserve(inputs);
  for (size_t row = 0; row < tensors_.size(); ++row) {
    if (call.tensors[row].defined() && op_.signature().tensors[row].differentiable()) {
      gradients.push_back(std::move(found[row]));
    }
  }
  if (!at::GradMode::is_enabled()) return gradients;
  return refuse_second_derivative(op_.signature().name, std::move(gradients));
}

void CallNode::release_variables() {
  const std::lock_guard lock(mutex_);
  for (torch::autograd::SavedVariable& saved : tensors_) saved.reset_data();
  reset_.reset_data();
  output_.reset_data();
  saved_.reset_data();
}

}  // namespace stpn::ops
