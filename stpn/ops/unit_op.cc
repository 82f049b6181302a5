#include "stpn/ops/unit_op.h"

#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/ops/call_node.h"
#include "stpn/ops/runtime/kernel_device.h"
#include "stpn/ops/runtime/saved_buffer.h"

namespace stpn::ops {

using kernels::Given;
using kernels::Role;
using kernels::TensorSpec;

int64_t length(const at::Tensor& tensor, int64_t dimension) {
  return tensor.sym_size(dimension).guard_int(__FILE__, __LINE__);
}

CallSizes sizes_of(const at::Tensor& x, int64_t inputs, int64_t hidden) {
  CallSizes sizes{{1, 1, inputs, hidden}, x.sym_size(0), x.sym_size(1)};
  if (!sizes.steps.is_symbolic()) sizes.extent.steps = sizes.steps.expect_int();
  if (!sizes.batch.is_symbolic()) sizes.extent.batch = sizes.batch.expect_int();
  return sizes;
}

namespace {

// Whether the kernels can be called directly: but for autograd, all tensors are plain tensors of
// the CPU or of a GPU, and nothing (such as tracing or a dispatch mode) needs to see the ops.
bool is_plain_below_autograd(const Call& call, const Tensors& others = {}) {
  at::AutoDispatchBelowADInplaceOrView guard;
  c10::DispatchKeySet keys = call.reset.defined() ? call.reset.key_set() : c10::DispatchKeySet();
  for (const Tensors* tensors : {&call.tensors, &others}) {
    for (const at::Tensor& tensor : *tensors) {
      if (tensor.defined()) keys = keys | tensor.key_set();
    }
  }
  const c10::impl::LocalDispatchKeySet local = c10::impl::tls_local_dispatch_key_set();
  keys = ((keys | local.included_) - local.excluded_).remove(c10::DispatchKey::BackendSelect);
  const c10::DispatchKey key = keys.highestPriorityTypeId();
  return key == c10::DispatchKey::CPU || key == c10::DispatchKey::CUDA;
}

// The backend of a call: on a GPU there is one; on the CPU it is the thread's.
Backend backend_for(const kernels::Signature& signature, const Call& call) {
  const Backend chosen = backend();
  const at::Tensor& x = call.tensors.front();
  const bool on_gpu = x.defined() && x.is_cuda();
  STPN_CHECK(on_gpu ? chosen == Backend::cpu || chosen == Backend::cuda : chosen != Backend::cuda,
             "{}: x is on {}, and the backend \"{}\" runs on {}: change STPN_BACKEND or move the "
             "tensors",
             signature.name, x.defined() ? x.device().str() : "the CPU", name_of(chosen),
             on_gpu ? "the CPU" : "a GPU");
  return on_gpu ? Backend::cuda : chosen;
}

bool all_contiguous(const Tensors& tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const at::Tensor& tensor) {
    return !tensor.defined() || tensor.is_contiguous();
  });
}

void make_contiguous(Tensors& tensors) {
  for (at::Tensor& tensor : tensors) {
    if (tensor.defined()) tensor = tensor.contiguous();
  }
}

// The same call with contiguous tensors; `storage` holds it if it is another.
const Call& contiguous(const Call& call, std::optional<Call>& storage) {
  if (all_contiguous(call.tensors) && (!call.reset.defined() || call.reset.is_contiguous())) {
    return call;
  }
  storage = call;
  make_contiguous(storage->tensors);
  if (storage->reset.defined()) storage->reset = storage->reset.contiguous();
  return *storage;
}

}  // namespace

UnitOp::UnitOp(const kernels::Signature& signature)
    : signature_(signature), arguments_(arguments_of(signature)) {
  for (const TensorSpec& tensor : signature.tensors) {
    std::vector<std::string> alternatives{""};
    for (const char* letter = tensor.shape; *letter != '\0'; ++letter) {
      if (*letter == '|') {
        alternatives.emplace_back();
      } else if (*letter != ' ') {
        alternatives.back() += *letter;
        letters_ += *letter;
      }
    }
    shapes_.push_back(std::move(alternatives));
    if (tensor.role == Role::state) state_names_.emplace_back(tensor.name);
  }
  std::sort(letters_.begin(), letters_.end());
  letters_.erase(std::unique(letters_.begin(), letters_.end()), letters_.end());
}

UnitOp::~UnitOp() = default;

Tensors UnitOp::run(const Call& call) const {
  RECORD_FUNCTION(signature_.name, c10::ArrayRef<const c10::IValue>());
  const c10::Device* const device = kernel_device();
  const at::Tensor& x = call.tensors.front();
  if (device == nullptr || !x.defined() || !x.is_cpu() || x.size(0) <= 1) return run_in_place(call);
  if (call.closed_loop != nullptr) {
    if (!is_differentiable(call)) return run_in_place(call);
    const at::NoGradGuard no_grad;
    run_in_place(call);  // now x and reset are complete
  }
  return run_on(*device, call);
}

Tensors UnitOp::run_on(c10::Device device, Call call) const {
  call.closed_loop = nullptr;
  for (at::Tensor& tensor : call.tensors) {
    if (tensor.defined()) tensor = tensor.to(device);
  }
  if (call.reset.defined()) call.reset = call.reset.to(device);
  Tensors results = run_in_place(call);
  for (at::Tensor& result : results) result = result.cpu();
  return results;
}

Tensors UnitOp::run_in_place(const Call& call) const {
  const Backend chosen = backend_for(signature_, call);
  STPN_CHECK(call.closed_loop == nullptr || chosen != Backend::cuda,
             "{}: in a closed loop the tensors have to be on the CPU; x is on {}", signature_.name,
             call.tensors.front().device().str());
  Tensors results = call.closed_loop != nullptr || is_plain_below_autograd(call)
                        ? run_plain(call, chosen)
                        : packed_->forward(call, chosen, /*save=*/is_differentiable(call));
  results.pop_back();  // what was saved
  if (call.energy) add_energy(call, results);
  return results;
}

// Whether autograd has to know of the call.
bool UnitOp::is_differentiable(const Call& call) const {
  bool differentiable = false;
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    const at::Tensor& tensor = call.tensors[row];
    if (!tensor.defined() || !signature_.tensors[row].differentiable()) continue;
    STPN_CHECK(!torch::autograd::isFwGradDefined(tensor),
               "{}: {} has a tangent; forward-mode differentiation is not implemented",
               signature_.name, signature_.tensors[row].name);
    differentiable = differentiable || tensor.requires_grad();
  }
  return differentiable && at::GradMode::is_enabled();
}

// Calls the kernels directly. Output, final states, energy, saved, in autograd's graph.
Tensors UnitOp::run_plain(const Call& call, Backend backend) const {
  const bool differentiable = is_differentiable(call);
  Tensors results;
  std::shared_ptr<const PreparedCall> prepared;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::NoGradGuard no_grad;
    std::optional<Call> storage;
    const Call& dense = contiguous(call, storage);
    STPN_CHECK(
        call.closed_loop == nullptr || (call.tensors.front().is_contiguous() &&
                                        (!call.reset.defined() || call.reset.is_contiguous())),
        "{}: in a closed loop x and reset are written while it runs: both have to be "
        "contiguous",
        signature_.name);
    prepared = prepare(dense, backend);
    results = empty_results(dense, *prepared, differentiable ? prepared->saved_size : 0);
    prepared->forward(dense, results);
  }
  if (differentiable) {
    c10::make_intrusive<CallNode>(*this, call, std::move(prepared), backend)->attach_to(results);
  }
  return results;
}

Tensors UnitOp::record_forward(const Call& call, Backend backend, bool save) const {
  const bool differentiable = is_differentiable(call);
  Tensors results;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    results = packed_->forward(call, backend, save || differentiable);
  }
  if (differentiable) {
    c10::make_intrusive<CallNode>(*this, call, nullptr, backend)->attach_to(results);
  }
  return results;
}

Tensors UnitOp::record_backward(const Call& call, Backend backend, const Tensors& grads,
                                const at::Tensor& output, const at::Tensor& saved,
                                const std::vector<bool>& needed) const {
  Tensors gradients;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    gradients = packed_->backward(call, backend, grads, output, saved, needed);
  }
  refuse_second_derivative(*this, call, grads, gradients);
  return gradients;
}

namespace {

// As at::empty, which on the CPU spends most of its time in the dispatcher.
at::Tensor empty(at::IntArrayRef shape, const at::TensorOptions& options) {
  return options.device().is_cpu() ? at::detail::empty_cpu(shape, options)
                                   : at::empty(shape, options);
}

}  // namespace

Tensors UnitOp::empty_results(const Call& call, const PreparedCall& prepared, int64_t saved) const {
  const auto options = call.tensors.front().options().requires_grad(false);
  Tensors results;
  results.reserve(state_names_.size() + 3);
  results.push_back(empty(prepared.output_shape(), options));
  const bool final_states = call.final_states || prepared.backend == Backend::cuda;
  for (const Shape& shape : prepared.state_shapes) {
    results.push_back(empty(final_states ? shape : Shape{0}, options));
  }
  results.push_back(empty(call.energy ? prepared.output_shape() : Shape{0}, options));
  results.push_back(saved_buffer(saved, options));
  return results;
}

// For shape inference.
Tensors UnitOp::empty_symbolic_results(const Call& call, const PreparedCall& prepared,
                                       bool save) const {
  const auto options = call.tensors.front().options().requires_grad(false);
  const CallSizes& sizes = prepared.sizes;
  const std::vector<c10::SymInt> of_output{sizes.steps, sizes.batch, sizes.extent.hidden};
  Tensors results{at::empty_symint(of_output, options)};
  for (const Shape& shape : prepared.state_shapes) {
    std::vector<c10::SymInt> of_state(shape.begin(), shape.end());
    if (of_state.size() > 1) of_state.front() = sizes.batch;  // else the variant lacks it
    results.push_back(at::empty_symint(of_state, options));
  }
  results.push_back(call.energy ? at::empty_symint(of_output, options) : at::empty({0}, options));
  results.push_back(at::empty_symint({save ? prepared.saved_bound() : c10::SymInt(0)}, options));
  return results;
}

Tensors UnitOp::forward(const Call& call, Backend backend, bool save, bool real) const {
  if (!real) return empty_symbolic_results(call, *prepare(call, backend), save);
  std::optional<Call> storage;
  const Call& dense = contiguous(call, storage);
  const auto prepared = prepare(dense, backend);
  const int64_t saved = save ? prepared->saved_bound().expect_int() : 0;
  if (save && saved < prepared->saved_size) {
    throw base::Error(
        fmt::format("{}: {} values to save, and room for {}: a mistake of this library",
                    signature_.name, prepared->saved_size, saved));
  }
  Tensors results = empty_results(dense, *prepared, saved);
  prepared->forward(dense, results);
  return results;
}

// One gradient for each row; undefined where none is needed.
Tensors UnitOp::empty_gradients(const Call& call, const std::vector<bool>& needed) const {
  const auto options = call.tensors.front().options().requires_grad(false);
  Tensors gradients(call.tensors.size());
  for (size_t row = 0; row < gradients.size(); ++row) {
    if (needed[row]) {
      const at::Tensor& tensor = call.tensors[row];
      gradients[row] = options.device().is_cpu() ? empty(tensor.sizes(), options)
                                                 : at::empty_symint(tensor.sym_sizes(), options);
    }
  }
  return gradients;
}

Tensors UnitOp::run_backward(const Call& call, const PreparedCall& prepared, const Tensors& grads,
                             const at::Tensor& output, const at::Tensor& saved,
                             const std::vector<bool>& needed) const {
  std::optional<Call> storage;
  const Call& dense = contiguous(call, storage);
  Tensors dense_grads = grads;
  make_contiguous(dense_grads);
  Tensors gradients = empty_gradients(dense, needed);
  if (prepared.extent.batch == 0) {
    for (const at::Tensor& gradient : gradients) {
      if (gradient.defined()) gradient.zero_();
    }
    return gradients;
  }
  prepared.backward(dense, dense_grads, output.contiguous(), saved.contiguous(), gradients);
  return gradients;
}

Tensors UnitOp::backward(const Call& call, Backend backend, const Tensors& grads,
                         const at::Tensor& output, const at::Tensor& saved,
                         const std::vector<bool>& needed, bool real) const {
  if (!real) return empty_gradients(call, needed);
  const auto prepared = prepare(call, backend);
  check_grads(call, *prepared, grads, output, saved);
  return run_backward(call, *prepared, grads, output, saved, needed);
}

Tensors UnitOp::differentiate(const Call& call, Backend backend, const PreparedCall* prepared,
                              const Tensors& grads, const at::Tensor& output,
                              const at::Tensor& saved, const std::vector<bool>& needed) const {
  if (prepared != nullptr && is_plain_below_autograd(call, grads)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return run_backward(call, *prepared, grads, output, saved, needed);
  }
  return packed_->backward(call, backend, grads, output, saved, needed);
}

// Arguments on a stack, in the order of the schema.
Call UnitOp::call_of(c10::ArrayRef<c10::IValue> arguments) const {
  Call call;
  call.tensors.resize(signature_.tensors.size());
  call.options.reserve(signature_.options.size());
  for (const kernels::OptionSpec& option : signature_.options) {
    call.options.push_back(option.default_value);
  }
  size_t next = 0;
  for (const Argument& argument : arguments_) {
    const c10::IValue& value = arguments[next++];
    switch (argument.kind) {
      case Argument::Kind::tensor:
        if (value.isTensor()) call.tensors[argument.row] = value.toTensor();
        break;
      case Argument::Kind::reset:
        if (value.isTensor()) call.reset = value.toTensor();
        break;
      case Argument::Kind::option: {
        const kernels::OptionSpec& option = signature_.options[argument.row];
        if (option.kind == kernels::OptionKind::choice) {
          call.options[argument.row] = parse_choice(option, value.toStringView());
        } else if (!value.isNone()) {
          call.options[argument.row] = value.toScalar().toDouble();
        }
        break;
      }
      case Argument::Kind::energy:
        call.energy = value.toBool();
        break;
    }
  }
  return call;
}

namespace {

// The op that people call, whatever its arguments.
class OpKernel : public c10::OperatorKernel {
 public:
  explicit OpKernel(std::function<void(torch::jit::Stack&)> run) : run_(std::move(run)) {}
  void operator()(const c10::OperatorHandle&, c10::DispatchKeySet, torch::jit::Stack* stack) {
    run_(*stack);
  }

 private:
  const std::function<void(torch::jit::Stack&)> run_;
};

}  // namespace

// With the arguments at the end of the stack; leaves the results there.
void UnitOp::run_boxed(std::vector<c10::IValue>& stack) const {
  const size_t count = arguments_.size();
  Tensors results = run(call_of(c10::ArrayRef<c10::IValue>(stack).slice(stack.size() - count)));
  torch::jit::drop(stack, count);
  for (at::Tensor& result : results) stack.emplace_back(std::move(result));
}

void UnitOp::define(torch::Library& m) {
  m.def(schema_of(signature_).c_str());
  auto kernel = std::make_unique<OpKernel>([this](torch::jit::Stack& stack) { run_boxed(stack); });
  m.impl(signature_.name,
         torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd,
                         torch::CppFunction::makeFromBoxedFunctor(std::move(kernel))));
  // The kernels are of float and double: under autocast other floating-point types become float.
  auto autocast = std::make_unique<OpKernel>([this](torch::jit::Stack& stack) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::DispatchKey::AutocastCPU);
    const size_t count = arguments_.size();
    for (size_t k = stack.size() - count; k < stack.size(); ++k) {
      if (!stack[k].isTensor()) continue;
      stack[k] = at::autocast::cached_cast(at::kFloat, stack[k].toTensor(), at::kCPU);
    }
    run_boxed(stack);
  });
  m.impl(signature_.name,
         torch::dispatch(c10::DispatchKey::AutocastCPU,
                         torch::CppFunction::makeFromBoxedFunctor(std::move(autocast))));
  packed_ = std::make_unique<const PackedOp>(*this, m);
}

}  // namespace stpn::ops
