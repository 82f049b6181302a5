#include "stpn/ops/unit_op.h"

#include <ATen/EmptyTensor.h>
#include <ATen/FuncTorchTLS.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/ops/call_node.h"
#include "stpn/ops/runtime/saved_buffer.h"

namespace stpn::ops {

using kernels::Given;
using kernels::Role;
using kernels::TensorSpec;

int64_t length(const at::Tensor& tensor, int64_t dimension) {
  return tensor.sym_size(dimension).guard_int(__FILE__, __LINE__);
}

kernels::Extent extent_of(const at::Tensor& x, const at::Tensor& other, int64_t dimension) {
  return {length(x, 0), length(x, 1), length(x, 2), length(other, dimension)};
}

namespace {

// Whether the kernels can be called directly: all tensors are plain CPU tensors, and nothing (such
// as tracing or a dispatch mode) needs to see the ops. REQUIRES: the caller has excluded autograd's
// dispatch keys.
bool is_plain(const Call& call, const Tensors& others = {}) {
  c10::DispatchKeySet keys = call.reset.defined() ? call.reset.key_set() : c10::DispatchKeySet();
  for (const Tensors* tensors : {&call.tensors, &others}) {
    for (const at::Tensor& tensor : *tensors) {
      if (tensor.defined()) keys = keys | tensor.key_set();
    }
  }
  const c10::impl::LocalDispatchKeySet local = c10::impl::tls_local_dispatch_key_set();
  keys = ((keys | local.included_) - local.excluded_).remove(c10::DispatchKey::BackendSelect);
  return keys.highestPriorityTypeId() == c10::DispatchKey::CPU;
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
  bool differentiable = false;
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    const at::Tensor& tensor = call.tensors[row];
    if (!tensor.defined() || !signature_.tensors[row].differentiable()) continue;
    STPN_CHECK(!torch::autograd::isFwGradDefined(tensor),
               "{}: {} has a tangent; forward-mode differentiation is not implemented",
               signature_.name, signature_.tensors[row].name);
    differentiable = differentiable || tensor.requires_grad();
  }
  differentiable = differentiable && at::GradMode::is_enabled();
  const auto& functorch = at::functorch::functorchTLSAccessor();
  if (differentiable && functorch) functorch->checkSupportsCppAutogradFunction();

  const Backend chosen = backend();
  Tensors results;
  std::shared_ptr<const PreparedCall> prepared;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::NoGradGuard no_grad;
    if (call.closed_loop != nullptr || is_plain(call)) {
      std::optional<Call> storage;
      const Call& dense = contiguous(call, storage);
      STPN_CHECK(
          call.closed_loop == nullptr || (call.tensors.front().is_contiguous() &&
                                          (!call.reset.defined() || call.reset.is_contiguous())),
          "{}: in a closed loop x and reset are written while it runs: both have to be "
          "contiguous",
          signature_.name);
      prepared = prepare(dense, chosen);
      results = empty_results(dense, *prepared, /*save=*/differentiable);
      prepared->forward(dense, results);
    } else {
      results = packed_->forward(call, chosen, /*save=*/differentiable);
    }
  }
  if (differentiable) {
    c10::make_intrusive<CallNode>(*this, call, std::move(prepared), chosen)->attach_to(results);
  }
  results.pop_back();  // what was saved
  if (call.energy) {
    const at::NoGradGuard no_grad;
    add_energy(call, results);
  }
  return results;
}

namespace {

// As at::empty, which on the CPU spends most of its time in the dispatcher.
at::Tensor empty(at::IntArrayRef shape, const at::TensorOptions& options) {
  if (!options.device().is_cpu()) return at::empty(shape, options);
  return at::detail::empty_cpu(shape, options);
}

}  // namespace

// Unwritten results: all that shape inference needs.
Tensors UnitOp::empty_results(const Call& call, const PreparedCall& prepared, bool save) const {
  const auto options = call.tensors.front().options().requires_grad(false);
  Tensors results;
  results.reserve(state_names_.size() + 3);
  results.push_back(empty(prepared.output_shape(), options));
  for (const Shape& shape : prepared.state_shapes) results.push_back(empty(shape, options));
  results.push_back(empty(call.energy ? prepared.output_shape() : Shape{0}, options));
  const int64_t saved = save ? prepared.saved_size : 0;
  results.push_back(options.device().is_cpu() ? saved_buffer(saved, options)
                                              : at::empty({saved}, options));
  return results;
}

Tensors UnitOp::forward(const Call& call, Backend backend, bool save, bool real) const {
  std::optional<Call> storage;
  const Call& dense = contiguous(call, storage);
  const auto prepared = prepare(dense, backend);
  Tensors results = empty_results(dense, *prepared, save);
  if (real) prepared->forward(dense, results);
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
  at::AutoDispatchBelowADInplaceOrView guard;
  if (prepared != nullptr && is_plain(call, grads)) {
    return run_backward(call, *prepared, grads, output, saved, needed);
  }
  return packed_->backward(call, backend, grads, output, saved, needed);
}

void UnitOp::check_grads(const Call& call, const PreparedCall& prepared, const Tensors& grads,
                         const at::Tensor& output, const at::Tensor& saved) const {
  const auto check = [&](const std::string& name, const at::Tensor& tensor, const Shape& shape) {
    if (!tensor.defined()) return;
    STPN_CHECK(tensor.sizes() == at::IntArrayRef(shape) &&
                   tensor.scalar_type() == call.tensors.front().scalar_type(),
               "{}: {} is {} {}, wants {} {}", signature_.name, name,
               c10::toString(tensor.scalar_type()), c10::str(tensor.sizes()),
               c10::toString(call.tensors.front().scalar_type()), c10::str(at::IntArrayRef(shape)));
  };
  STPN_CHECK(grads.size() == 1 + state_names_.size(), "{}: {} grads, wants {}", signature_.name,
             grads.size(), 1 + state_names_.size());
  check("grad_output", grads[0], prepared.output_shape());
  for (size_t k = 0; k < state_names_.size(); ++k) {
    check("grad_" + state_names_[k], grads[1 + k], prepared.state_shapes[k]);
  }
  check("output", output, prepared.output_shape());
  check("saved", saved, {prepared.saved_size});
}

void UnitOp::check_dimensions(const char* name, const at::Tensor& tensor,
                              const char* layout) const {
  const std::string_view names = layout;
  const auto wanted = std::count(names.begin(), names.end(), ',') + 1;
  STPN_CHECK(tensor.dim() == wanted, "{}: {} has {} dimensions, wants {}: {}", signature_.name,
             name, tensor.dim(), wanted, layout);
}

void UnitOp::check_presence(const Call& call) const {
  STPN_CHECK(call.tensors.size() == signature_.tensors.size() &&
                 call.options.size() == signature_.options.size(),
             "{}: {} tensors and {} options, wants {} and {}", signature_.name, call.tensors.size(),
             call.options.size(), signature_.tensors.size(), signature_.options.size());
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    const TensorSpec& spec = signature_.tensors[row];
    const bool taken = takes(signature_, spec.name);
    const bool given = call.tensors[row].defined();
    STPN_CHECK(taken || !given, "{} takes no {}", signature_.name, spec.name);
    STPN_CHECK(!taken || given || spec.given != Given::required, "{}: {} is missing",
               signature_.name, spec.name);
  }
}

void UnitOp::check_shapes(const Call& call, const Sizes& sizes) const {
  const at::Tensor& x = call.tensors.front();
  const at::ScalarType type = x.scalar_type();
  STPN_CHECK(type == at::kFloat || type == at::kDouble, "{}: x is {}, wants float or double",
             signature_.name, c10::toString(type));
  const auto check_type = [&](const char* name, const at::Tensor& tensor, at::ScalarType wanted) {
    STPN_CHECK(tensor.scalar_type() == wanted, "{}: {} is {}, wants {}", signature_.name, name,
               c10::toString(tensor.scalar_type()), c10::toString(wanted));
    STPN_CHECK(tensor.device() == x.device(), "{}: {} is on {}, x on {}", signature_.name, name,
               tensor.device().str(), x.device().str());
  };
  const auto fits = [&](const at::Tensor& tensor, const std::string& letters) {
    bool same = tensor.dim() == static_cast<int64_t>(letters.size());
    for (size_t k = 0; same && k < letters.size(); ++k) {
      same = length(tensor, static_cast<int64_t>(k)) == sizes[letters[k]];
    }
    return same;
  };
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    const at::Tensor& tensor = call.tensors[row];
    if (!tensor.defined()) continue;
    check_type(signature_.tensors[row].name, tensor, type);
    const bool right =
        std::any_of(shapes_[row].begin(), shapes_[row].end(),
                    [&](const std::string& letters) { return fits(tensor, letters); });
    if (!right) fail_shape(row, tensor, sizes);
  }
  if (!call.reset.defined()) return;
  check_type("reset", call.reset, at::kBool);
  STPN_CHECK(fits(call.reset, "TB"), "{}: reset has shape {}, wants (T, B) = ({}, {})",
             signature_.name, c10::str(call.reset.sym_sizes()), sizes['T'], sizes['B']);
}

void UnitOp::fail_shape(size_t row, const at::Tensor& tensor, const Sizes& sizes) const {
  std::string wanted;
  for (const std::string& letters : shapes_[row]) {
    Shape shape;
    for (const char letter : letters) shape.push_back(sizes[letter]);
    wanted += (wanted.empty() ? "" : " or ") + c10::str(at::IntArrayRef(shape));
  }
  throw base::UserError(
      fmt::format("{}: {} has shape {}, wants {} = {}; T, B and I are those of x, with time first",
                  signature_.name, signature_.tensors[row].name, c10::str(tensor.sym_sizes()),
                  shape_text(signature_.tensors[row].shape), wanted));
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

void UnitOp::define(torch::Library& m) {
  m.def(schema_of(signature_).c_str());
  auto kernel = std::make_unique<OpKernel>([this](torch::jit::Stack& stack) {
    const size_t count = arguments_.size();
    Tensors results = run(call_of(c10::ArrayRef<c10::IValue>(stack).slice(stack.size() - count)));
    torch::jit::drop(stack, count);
    for (at::Tensor& result : results) stack.emplace_back(std::move(result));
  });
  m.impl(signature_.name,
         torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd,
                         torch::CppFunction::makeFromBoxedFunctor(std::move(kernel))));
  packed_ = std::make_unique<const PackedOp>(*this, m);
}

}  // namespace stpn::ops
