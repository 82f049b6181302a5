#include "stpn/ops/undispatched/fixed_weights.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <iterator>
#include <mutex>
#include <string>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/kernels/fixed_weights/equations.h"
#include "stpn/ops/call_node.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/saved_buffer.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/ops/typed_op.h"

namespace stpn::ops {
namespace {

constexpr size_t kFixedWeightsRows = std::size(kernels::kFixedWeightsTensors);

const char* name_of(kernels::Cell cell) {
  return cell == kernels::Cell::lstm ? "lstm" : cell == kernels::Cell::gru ? "gru" : "rnn";
}

// One for each row of the signature; undefined: absent.
Tensors tensors_of(const FixedWeightsCall& call) {
  Tensors tensors;
  tensors.reserve(kFixedWeightsRows);
  const auto visit = [&](const at::Tensor& tensor) { tensors.push_back(tensor); };
  FIXED_WEIGHTS_TENSORS(STPN_VISIT_TENSOR)
  return tensors;
}

Tensors defined_of(const Tensors& tensors) {
  Tensors defined;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) defined.push_back(tensor);
  }
  return defined;
}

// Fixed for a call; forward and backward read it.
struct FixedWeightsSizes {
  kernels::Extent extent;
  kernels::FixedWeightsVariant variant;
};

// `tensors`, `reset` and what follows have to be contiguous and to outlive the params.
template <typename T>
kernels::FixedWeightsForwardParams<T> fixed_weights_params(const FixedWeightsSizes& sizes,
                                                           const Tensors& tensors,
                                                           const at::Tensor& reset,
                                                           const at::Tensor& output,
                                                           const at::Tensor& saved) {
  kernels::FixedWeightsForwardParams<T> p;
  p.extent = sizes.extent;
  p.variant = sizes.variant;
  for (size_t row = 0; row < kFixedWeightsRows; ++row) {
    p.*kernels::FixedWeightsFields<T>::values[row] = read<T>(tensors[row]);
  }
  p.reset = reinterpret_cast<const uint8_t*>(read<bool>(reset));
  p.output = write<T>(output);
  p.saved = write<T>(saved);
  p.parallel = parallel_for_of_call();
  return p;
}

// `results`: output, final h, final c; written.
template <typename T>
void run_fixed_weights_forward(kernels::FixedWeightsForwardParams<T> p,
                               kernels::ClosedLoop* closed_loop, const Tensors& results) {
  p.final_h = write<T>(results[1]);
  if (results.size() > 2) p.final_c = write<T>(results[2]);
  p.closed_loop = closed_loop;
  backend() == Backend::reference ? kernels::fixed_weights_forward_ref(p)
                                  : kernels::fixed_weights_forward_cpu(p);
}

template <typename T>
void run_fixed_weights_backward(kernels::FixedWeightsForwardParams<T> forward, Backend backend,
                                const Tensors& grads, const Tensors& gradients) {
  kernels::FixedWeightsBackwardParams<T> p;
  p.forward = forward;
  p.grad_output = read<T>(grads[0]);
  p.grad_final_h = read<T>(grads[1]);
  if (grads.size() > 2) p.grad_final_c = read<T>(grads[2]);
  for (size_t row = 0; row < kFixedWeightsRows; ++row) {
    p.*kernels::FixedWeightsFields<T>::gradients[row] = write<T>(gradients[row]);
  }
  backend == Backend::reference ? kernels::fixed_weights_backward_ref(p)
                                : kernels::fixed_weights_backward_cpu(p);
}

class FixedWeightsNode : public torch::autograd::Node {
 public:
  // REQUIRES: reset is contiguous.
  FixedWeightsNode(const Tensors& tensors, const at::Tensor& reset, const FixedWeightsSizes& sizes,
                   Backend backend)
      : torch::autograd::Node(torch::autograd::collect_next_edges(defined_of(tensors))),
        sizes_(sizes),
        backend_(backend),
        reset_(reset, /*is_output=*/false) {
    tensors_.reserve(tensors.size());
    for (const at::Tensor& tensor : tensors) tensors_.emplace_back(tensor, /*is_output=*/false);
  }

  // Makes the results differentiable.
  void attach_to(const Tensors& results, const at::Tensor& saved) {
    for (const at::Tensor& result : results) torch::autograd::set_history(result, getptr());
    output_ = torch::autograd::SavedVariable(results.front(), /*is_output=*/true);
    saved_ = torch::autograd::SavedVariable(saved, /*is_output=*/false);
  }

  std::string name() const override {
    return std::string(name_of(sizes_.variant.cell)) + "_backward";
  }

  Tensors apply(Tensors&& grads) override {
    const std::lock_guard lock(mutex_);
    Tensors tensors, gradients(kFixedWeightsRows), found;
    tensors.reserve(kFixedWeightsRows);
    for (const auto& saved : tensors_) tensors.push_back(saved.unpack());
    const at::Tensor output = output_.unpack(getptr());
    {
      const at::AutoDispatchBelowADInplaceOrView guard;
      const at::NoGradGuard no_grad;
      size_t inputs = 0;
      for (size_t row = 0; row < kFixedWeightsRows; ++row) {
        if (!tensors[row].defined() || !task_should_compute_output(inputs++)) continue;
        gradients[row] =
            at::detail::empty_cpu(tensors[row].sizes(), output.options().requires_grad(false));
      }
      const Tensors dense = contiguous_of(tensors);
      const Tensors dense_grads = contiguous_of(grads);
      const at::Tensor reset = reset_.unpack();
      const at::Tensor saved = saved_.unpack();
      const auto run = [&](auto type) {
        using T = decltype(type);
        run_fixed_weights_backward<T>(fixed_weights_params<T>(sizes_, dense, reset, output, saved),
                                      backend_, dense_grads, gradients);
      };
      output.scalar_type() == at::kFloat ? run(float()) : run(double());
    }
    for (size_t row = 0; row < kFixedWeightsRows; ++row) {
      if (tensors[row].defined()) found.push_back(gradients[row]);
    }
    refuse_second_derivative(name_of(sizes_.variant.cell), defined_of(tensors), grads, found);
    return found;
  }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (torch::autograd::SavedVariable& saved : tensors_) saved.reset_data();
    reset_.reset_data();
    output_.reset_data();
    saved_.reset_data();
  }

 private:
  const FixedWeightsSizes sizes_;
  const Backend backend_;
  std::vector<torch::autograd::SavedVariable> tensors_;  // of rows that are absent: empty
  torch::autograd::SavedVariable reset_, output_, saved_;
};

}  // namespace

std::vector<at::Tensor> run_fixed_weights(const FixedWeightsCall& call) {
  RECORD_FUNCTION(name_of(call.cell), c10::ArrayRef<const c10::IValue>());
  const Tensors tensors = tensors_of(call);
  bool differentiable = false;
  for (size_t row = 0; row < kFixedWeightsRows; ++row) {
    if (!tensors[row].defined()) continue;
    STPN_CHECK(!torch::autograd::isFwGradDefined(tensors[row]),
               "{}: {} has a tangent; forward-mode differentiation is not implemented",
               name_of(call.cell), kernels::kFixedWeightsTensors[row].name);
    differentiable |= tensors[row].requires_grad();
  }
  differentiable = differentiable && at::GradMode::is_enabled();

  const FixedWeightsSizes sizes{
      {call.x.size(0), call.x.size(1), call.x.size(2), call.weight_hh.size(1)}, {call.cell}};
  const kernels::Extent& extent = sizes.extent;
  Tensors results;
  at::Tensor saved;
  at::Tensor reset = call.reset;
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const at::NoGradGuard no_grad;
    const auto options = call.x.options().requires_grad(false);
    results.push_back(at::detail::empty_cpu({extent.steps, extent.batch, extent.hidden}, options));
    for (int state = 0; state < (call.cell == kernels::Cell::lstm ? 2 : 1); ++state) {
      results.push_back(at::detail::empty_cpu({extent.batch, extent.hidden}, options));
    }
    const Tensors dense = contiguous_of(tensors);
    if (reset.defined()) reset = reset.contiguous();
    const auto run = [&](auto type) {
      using T = decltype(type);
      const int64_t size =
          differentiable ? kernels::fixed_weights_saved_size<T>(extent, sizes.variant) : 0;
      saved = saved_buffer(size, options);
      run_fixed_weights_forward<T>(fixed_weights_params<T>(sizes, dense, reset, results[0], saved),
                                   call.closed_loop, results);
    };
    call.x.scalar_type() == at::kFloat ? run(float()) : run(double());
  }
  if (differentiable) {
    c10::make_intrusive<FixedWeightsNode>(tensors, reset, sizes, backend())
        ->attach_to(results, saved);
  }
  return results;
}

}  // namespace stpn::ops
