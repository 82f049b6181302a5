#include "stpn/ops/undispatched/gated_delta.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <mutex>
#include <string>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/kernels/gated_delta/equations.h"
#include "stpn/ops/call_node.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/saved_buffer.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/ops/typed_op.h"

namespace stpn::ops {
namespace {

constexpr const char* kGatedDeltaInputs[] = {"query", "key", "value", "decay", "write", "state"};

// The differentiable ones, in the order of kGatedDeltaInputs.
Tensors tensors_of(const GatedDeltaInputs& inputs) {
  return {inputs.query, inputs.key, inputs.value, inputs.decay, inputs.write, inputs.state};
}

// Throws unless all fit together.
kernels::GatedDeltaExtent extent_of(const GatedDeltaInputs& inputs) {
  const at::Tensor& key = inputs.key;
  STPN_CHECK(key.defined() && key.dim() == 3 && key.numel() > 0 && inputs.value.defined() &&
                 inputs.value.dim() == 3 && inputs.value.numel() > 0,
             "gated_delta: key has to be (T, M, K) and value (T, M, V), none of them 0");
  const at::ScalarType type = key.scalar_type();
  STPN_CHECK(type == at::kFloat || type == at::kDouble,
             "gated_delta: key is of {}, want Float or Double", c10::toString(type));
  const int64_t T = key.size(0), M = key.size(1), K = key.size(2), V = inputs.value.size(2);
  const Shape shapes[] = {{T, M, K}, {T, M, K}, {T, M, V}, {T, M}, {T, M}, {M, V, K}};
  const Tensors tensors = tensors_of(inputs);
  for (size_t k = 0; k < tensors.size(); ++k) {
    const at::Tensor& tensor = tensors[k];
    STPN_CHECK(tensor.defined() && tensor.sizes() == at::IntArrayRef(shapes[k]) &&
                   tensor.scalar_type() == type && tensor.device().is_cpu(),
               "gated_delta: {} has to be {} of {} on the CPU, as key and value are",
               kGatedDeltaInputs[k], c10::str(at::IntArrayRef(shapes[k])), c10::toString(type));
    STPN_CHECK(!torch::autograd::isFwGradDefined(tensor),
               "gated_delta: {} has a tangent; forward-mode differentiation is not implemented",
               kGatedDeltaInputs[k]);
  }
  int64_t samples = M;
  if (inputs.reset.defined()) {
    STPN_CHECK(inputs.reset.dim() == 2 && inputs.reset.size(0) == T && inputs.reset.size(1) > 0 &&
                   M % inputs.reset.size(1) == 0 && inputs.reset.scalar_type() == at::kBool &&
                   inputs.reset.device().is_cpu(),
               "gated_delta: reset is {}, want ({}, samples) of Bool on the CPU, where {} is a "
               "multiple of the samples",
               c10::str(inputs.reset.sizes()), T, M);
    samples = inputs.reset.size(1);
  }
  return {.steps = T, .samples = samples, .heads = M / samples, .key_size = K, .value_size = V};
}

// `dense`: contiguous, in the order of kGatedDeltaInputs. It and `reset` have to outlive the
// params.
template <typename T>
kernels::GatedDeltaForwardParams<T> gated_delta_params(const kernels::GatedDeltaExtent& extent,
                                                       const Tensors& dense,
                                                       const at::Tensor& reset,
                                                       const at::Tensor& saved) {
  kernels::GatedDeltaForwardParams<T> p;
  p.extent = extent;
  p.query = read<T>(dense[0]);
  p.key = read<T>(dense[1]);
  p.value = read<T>(dense[2]);
  p.decay = read<T>(dense[3]);
  p.write = read<T>(dense[4]);
  p.state = read<T>(dense[5]);
  p.reset = read<bool>(reset);
  p.saved = write<T>(saved);
  p.parallel = parallel_for_of_call();
  return p;
}

class GatedDeltaNode : public torch::autograd::Node {
 public:
  GatedDeltaNode(const kernels::GatedDeltaExtent& extent, const Tensors& tensors,
                 const at::Tensor& reset, Backend backend)
      : torch::autograd::Node(torch::autograd::collect_next_edges(tensors)),
        extent_(extent),
        backend_(backend),
        reset_(reset, /*is_output=*/false) {
    for (const at::Tensor& tensor : tensors) tensors_.emplace_back(tensor, /*is_output=*/false);
  }

  // Makes the outputs differentiable.
  void attach_to(const GatedDeltaOutputs& outputs, const at::Tensor& saved) {
    torch::autograd::set_history(outputs.read, getptr());
    torch::autograd::set_history(outputs.state, getptr());
    if (outputs.energy.defined()) torch::autograd::set_history(outputs.energy, getptr());
    saved_ = torch::autograd::SavedVariable(saved, /*is_output=*/false);
  }

  std::string name() const override { return "gated_delta_backward"; }

  Tensors apply(Tensors&& grads) override {
    const std::lock_guard lock(mutex_);
    Tensors tensors;
    for (const auto& saved : tensors_) tensors.push_back(saved.unpack());
    Tensors gradients;
    {
      const at::AutoDispatchBelowADInplaceOrView guard;
      const at::NoGradGuard no_grad;
      for (const at::Tensor& tensor : tensors) {
        gradients.push_back(
            at::detail::empty_cpu(tensor.sizes(), tensor.options().requires_grad(false)));
      }
      const Tensors dense = contiguous_of(tensors);
      Tensors dense_grads = contiguous_of(grads);
      dense_grads.resize(3);  // without energy there are two
      const at::Tensor reset = reset_.unpack();
      const at::Tensor saved = saved_.unpack();
      const auto run = [&](auto type) {
        using T = decltype(type);
        kernels::GatedDeltaBackwardParams<T> p;
        p.forward = gated_delta_params<T>(extent_, dense, reset, saved);
        p.grad_read = read<T>(dense_grads[0]);
        p.grad_final_state = read<T>(dense_grads[1]);
        p.grad_energy = read<T>(dense_grads[2]);
        p.grad_query = write<T>(gradients[0]);
        p.grad_key = write<T>(gradients[1]);
        p.grad_value = write<T>(gradients[2]);
        p.grad_decay = write<T>(gradients[3]);
        p.grad_write = write<T>(gradients[4]);
        p.grad_state = write<T>(gradients[5]);
        backend_ == Backend::reference ? kernels::gated_delta_backward_ref(p)
                                       : kernels::gated_delta_backward_cpu(p);
      };
      tensors[0].scalar_type() == at::kFloat ? run(float()) : run(double());
    }
    refuse_second_derivative("gated_delta", tensors, grads, gradients);
    return gradients;
  }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (torch::autograd::SavedVariable& saved : tensors_) saved.reset_data();
    reset_.reset_data();
    saved_.reset_data();
  }

 private:
  const kernels::GatedDeltaExtent extent_;
  const Backend backend_;
  std::vector<torch::autograd::SavedVariable> tensors_;
  torch::autograd::SavedVariable reset_, saved_;
};

}  // namespace

GatedDeltaOutputs run_gated_delta(const GatedDeltaInputs& inputs, bool energy) {
  RECORD_FUNCTION("gated_delta", c10::ArrayRef<const c10::IValue>());
  const kernels::GatedDeltaExtent extent = extent_of(inputs);
  const Tensors tensors = tensors_of(inputs);
  const bool differentiable =
      at::GradMode::is_enabled() && torch::autograd::compute_requires_grad(tensors);
  GatedDeltaOutputs outputs;
  at::Tensor saved, reset;
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const at::NoGradGuard no_grad;
    const auto options = inputs.key.options().requires_grad(false);
    outputs.read = at::detail::empty_cpu(inputs.value.sizes(), options);
    outputs.state = at::detail::empty_cpu(inputs.state.sizes(), options);
    if (energy) outputs.energy = at::detail::empty_cpu(inputs.value.sizes(), options);
    if (inputs.reset.defined()) reset = inputs.reset.contiguous();
    const Tensors dense = contiguous_of(tensors);
    const auto run = [&](auto type) {
      using T = decltype(type);
      const bool reference = backend() == Backend::reference;
      saved = saved_buffer(
          differentiable && !reference ? kernels::gated_delta_saved_size<T>(extent) : 0, options);
      auto p = gated_delta_params<T>(extent, dense, reset, saved);
      p.read = write<T>(outputs.read);
      p.final_state = write<T>(outputs.state);
      p.energy = write<T>(outputs.energy);
      reference ? kernels::gated_delta_forward_ref(p) : kernels::gated_delta_forward_cpu(p);
    };
    inputs.key.scalar_type() == at::kFloat ? run(float()) : run(double());
  }
  if (differentiable) {
    c10::make_intrusive<GatedDeltaNode>(extent, tensors, reset, backend())
        ->attach_to(outputs, saved);
  }
  return outputs;
}

}  // namespace stpn::ops
