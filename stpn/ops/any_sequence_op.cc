#include "stpn/ops/any_sequence_op.h"

#include <ATen/FuncTorchTLS.h>
#include <torch/csrc/autograd/functions/basic_ops.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/ops/backend.h"
#include "stpn/ops/saved_buffer.h"

namespace stpn::nn {

int64_t length(const at::Tensor& tensor, int64_t dimension) {
  return tensor.sym_size(dimension).guard_int(__FILE__, __LINE__);
}

void check_dimensions(const char* op, const char* name, const at::Tensor& tensor,
                      const char* layout) {
  const std::string names = layout;
  const auto wanted = std::count(names.begin(), names.end(), ',') + 1;
  STPN_CHECK(tensor.dim() == wanted, "{}: {} has {} dimensions, wants {}: {}", op, name,
             tensor.dim(), wanted, layout);
}

void check_tensor(const std::string& op, const std::string& name, const at::Tensor& tensor,
                  at::ScalarType type, const Shape& shape, const at::Tensor& first,
                  const char* first_name) {
  if (!tensor.defined()) return;
  STPN_CHECK(tensor.scalar_type() == type, "{}: {} is {}, wants {}", op, name,
             c10::toString(tensor.scalar_type()), c10::toString(type));
  STPN_CHECK(tensor.device() == first.device(), "{}: {} is on {}, {} on {}", op, name,
             tensor.device().str(), first_name, first.device().str());
  bool same = tensor.dim() == static_cast<int64_t>(shape.size());
  for (size_t d = 0; same && d < shape.size(); ++d) {
    same = length(tensor, static_cast<int64_t>(d)) == shape[d];
  }
  STPN_CHECK(same, "{}: {} has shape {}, wants {}", op, name, c10::str(tensor.sym_sizes()),
             c10::str(at::IntArrayRef(shape)));
}

namespace {

using Optionals = c10::List<std::optional<at::Tensor>>;
using Words = std::vector<std::string>;
using Numbers = std::vector<double>;

using Forward = Tensors(const Optionals& tensors, const Words& words, const Numbers& numbers,
                        bool energy, bool save);
using Backward = Tensors(const Optionals& grads, const at::Tensor& output, const at::Tensor& saved,
                         const c10::List<bool>& needed, const Optionals& tensors,
                         const Words& words, const Numbers& numbers);

template <typename Signature>
auto find_op(const std::string& name) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(("stpn::" + name).c_str(), "")
      .typed<Signature>();
}

Optionals optionals_of(const Tensors& tensors) {
  Optionals optionals;
  optionals.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) {
    optionals.push_back(tensor.defined() ? std::optional(tensor) : std::nullopt);
  }
  return optionals;
}

Tensors tensors_of(const Optionals& optionals) {
  Tensors tensors;
  tensors.reserve(optionals.size());
  for (const std::optional<at::Tensor>& tensor : optionals) {
    tensors.push_back(tensor.value_or(at::Tensor()));
  }
  return tensors;
}

Tensors defined_of(Tensors tensors) {
  std::erase_if(tensors, [](const at::Tensor& tensor) { return !tensor.defined(); });
  return tensors;
}

SequenceArguments arguments_of(const Optionals& optionals, const Words& words,
                               const Numbers& numbers, bool energy) {
  return {tensors_of(optionals), words, numbers, energy, nullptr};
}

void make_contiguous(Tensors& tensors) {
  for (at::Tensor& tensor : tensors) {
    if (tensor.defined()) tensor = tensor.contiguous();
  }
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

// The dispatcher's entries, looked up once.
struct AnySequenceOp::Registered {
  explicit Registered(const std::string& name)
      : forward(find_op<Forward>(name + "_forward")),
        backward(find_op<Backward>(name + "_backward")) {}

  const c10::TypedOperatorHandle<Forward> forward;
  const c10::TypedOperatorHandle<Backward> backward;
};

// A call in autograd's graph. torch::autograd::Function does as much, but its maps and lists take a
// twentieth of the time of a small unit.
class AnySequenceOp::CallNode : public torch::autograd::Node {
 public:
  // `given`: those of the tensors that have gradients and are there.
  CallNode(const AnySequenceOp& op, const SequenceArguments& arguments, const Tensors& given)
      : torch::autograd::Node(torch::autograd::collect_next_edges(given)),
        op_(op),
        words_(arguments.words),
        numbers_(arguments.numbers) {
    tensors_.reserve(arguments.tensors.size());
    for (const at::Tensor& tensor : arguments.tensors) tensors_.emplace_back(tensor, false);
  }

  // Output, final states, energy, kept: all but the last two become differentiable.
  void attach_to(const Tensors& results) {
    for (size_t k = 0; k + 2 < results.size(); ++k) {
      torch::autograd::set_history(results[k], getptr());
    }
    output_ = torch::autograd::SavedVariable(results.front(), /*is_output=*/true);
    saved_ = torch::autograd::SavedVariable(results.back(), /*is_output=*/false);
  }

  std::string name() const override { return std::string(op_.info_.name) + "_backward"; }

  Tensors apply(Tensors&& grads) override {
    const std::lock_guard lock(mutex_);
    Optionals tensors;
    tensors.reserve(tensors_.size());
    c10::List<bool> needed;
    std::vector<size_t> needed_edges;
    size_t edges = 0;  // autograd counts only the tensors that were given
    for (const torch::autograd::SavedVariable& saved : tensors_) {
      const at::Tensor tensor = saved.unpack();
      if (needed.size() < op_.info_.gradients) {
        const bool need = tensor.defined() && task_should_compute_output(edges);
        needed.push_back(need);
        if (need) needed_edges.push_back(edges);
        edges += tensor.defined();
      }
      tensors.push_back(tensor.defined() ? std::optional(tensor) : std::nullopt);
    }
    Tensors found;
    {
      at::AutoDispatchBelowADInplaceOrView guard;
      found = op_.registered_->backward.call(optionals_of(grads), output_.unpack(getptr()),
                                             saved_.unpack(), needed, tensors, words_, numbers_);
    }
    STPN_CHECK(found.size() == needed_edges.size(), "{}: {} gradients, wants {}", name(),
               found.size(), needed_edges.size());
    Tensors gradients(edges);
    for (size_t k = 0; k < found.size(); ++k) gradients[needed_edges[k]] = std::move(found[k]);
    if (!at::GradMode::is_enabled()) return gradients;
    return refuse_second_derivative(op_.info_.name, std::move(gradients));
  }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (torch::autograd::SavedVariable& saved : tensors_) saved.reset_data();
    output_.reset_data();
    saved_.reset_data();
  }

 private:
  const AnySequenceOp& op_;
  const Words words_;
  const Numbers numbers_;
  std::vector<torch::autograd::SavedVariable> tensors_;
  torch::autograd::SavedVariable output_, saved_;
};

AnySequenceOp::AnySequenceOp(Info info) : info_(std::move(info)) {}
AnySequenceOp::~AnySequenceOp() = default;

Tensors AnySequenceOp::call_forward(const SequenceArguments& arguments, bool save) const {
  if (arguments.closed_loop != nullptr) {
    for (const at::Tensor& tensor : {arguments.tensors[0], arguments.tensors.back()}) {
      STPN_CHECK(!tensor.defined() || tensor.is_contiguous(),
                 "{}: in a closed loop {} and reset are written as it goes: want to be contiguous",
                 info_.name, info_.tensors[0].name);
    }
    return run_forward(arguments, save);
  }
  return registered_->forward.call(optionals_of(arguments.tensors), arguments.words,
                                   arguments.numbers, arguments.energy, save);
}

Tensors AnySequenceOp::run_any(const SequenceArguments& arguments) const {
  Tensors given;
  bool differentiable = false;
  for (size_t k = 0; k < info_.gradients; ++k) {
    const at::Tensor& tensor = arguments.tensors[k];
    if (!tensor.defined()) continue;
    STPN_CHECK(!torch::autograd::isFwGradDefined(tensor),
               "{}: {} has a tangent; forward-mode differentiation is not implemented", info_.name,
               info_.tensors[k].name);
    given.push_back(tensor);
    differentiable = differentiable || tensor.requires_grad();
  }
  differentiable = differentiable && at::GradMode::is_enabled();
  const auto& functorch = at::functorch::functorchTLSAccessor();
  if (differentiable && functorch) functorch->checkSupportsCppAutogradFunction();
  Tensors results;
  {
    at::AutoDispatchBelowADInplaceOrView guard;
    const at::NoGradGuard no_grad;
    results = call_forward(arguments, /*save=*/differentiable);
  }
  if (differentiable) {
    c10::make_intrusive<CallNode>(*this, arguments, given)->attach_to(results);
  }
  results.pop_back();
  return results;
}

void AnySequenceOp::define_any(torch::Library& m) {
  const std::string forward = std::string(info_.name) + "_forward";
  const std::string backward = std::string(info_.name) + "_backward";
  m.def((forward + "(Tensor?[] tensors, str[] words, float[] numbers, bool energy, bool save) "
                   "-> Tensor[]")
            .c_str());
  m.def((backward + "(Tensor?[] grads, Tensor output, Tensor saved, bool[] needed, "
                    "Tensor?[] tensors, str[] words, float[] numbers) -> Tensor[]")
            .c_str());
  const auto on = [&m](c10::DispatchKey key, const std::string& name, auto kernel) {
    m.impl(name.c_str(), torch::dispatch(key, torch::CppFunction(std::move(kernel))));
  };
  on(c10::DispatchKey::CPU, forward,
     [this](const Optionals& tensors, const Words& words, const Numbers& numbers, bool energy,
            bool save) {
       return run_forward(arguments_of(tensors, words, numbers, energy), save);
     });
  on(c10::DispatchKey::Meta, forward,
     [this](const Optionals& tensors, const Words& words, const Numbers& numbers, bool energy,
            bool save) {
       return empty_results(arguments_of(tensors, words, numbers, energy), save);
     });
  on(c10::DispatchKey::CPU, backward,
     [this](const Optionals& grads, const at::Tensor& output, const at::Tensor& saved,
            const c10::List<bool>& needed, const Optionals& tensors, const Words& words,
            const Numbers& numbers) {
       return defined_of(run_backward(arguments_of(tensors, words, numbers, false),
                                      tensors_of(grads), output, saved, needed));
     });
  on(c10::DispatchKey::Meta, backward,
     [this](const Optionals&, const at::Tensor&, const at::Tensor&, const c10::List<bool>& needed,
            const Optionals& tensors, const Words& words, const Numbers& numbers) {
       return defined_of(empty_gradients(arguments_of(tensors, words, numbers, false), needed));
     });
  registered_ = std::make_unique<Registered>(info_.name);
}

// Every REQUIRES of the kernels.
SequenceShapes AnySequenceOp::check(const SequenceArguments& a) const {
  STPN_CHECK(a.tensors.size() == info_.tensors.size() + 1 && a.words.size() == info_.words &&
                 a.numbers.size() == info_.numbers,
             "{}: {} tensors, {} words and {} numbers, wants {}, {} and {}", info_.name,
             a.tensors.size(), a.words.size(), a.numbers.size(), info_.tensors.size() + 1,
             info_.words, info_.numbers);
  for (size_t k = 0; k < info_.tensors.size(); ++k) {
    STPN_CHECK(info_.tensors[k].given == Given::maybe || a.tensors[k].defined(),
               "{}: {} is missing", info_.name, info_.tensors[k].name);
  }
  const at::Tensor& first = a.tensors[0];
  const at::ScalarType type = first.scalar_type();
  STPN_CHECK(type == at::kFloat || type == at::kDouble, "{}: {} is {}, wants float or double",
             info_.name, info_.tensors[0].name, c10::toString(type));
  SequenceShapes wanted = shapes(a);
  for (size_t k = 0; k < info_.tensors.size(); ++k) {
    check_tensor(info_.name, info_.tensors[k].name, a.tensors[k], type, wanted.tensors[k], first,
                 info_.tensors[0].name);
  }
  check_tensor(info_.name, "reset", a.tensors.back(), at::kBool,
               {wanted.output[0], wanted.output[1]}, first, info_.tensors[0].name);
  check_call(a);
  return wanted;
}

// Unwritten results: all that shape inference needs.
Tensors AnySequenceOp::empty_results(const SequenceArguments& arguments, bool save) const {
  const SequenceShapes wanted = check(arguments);
  const auto options = arguments.tensors[0].options().requires_grad(false);
  Tensors results{at::empty(wanted.output, options)};
  for (const Shape& shape : wanted.states) results.push_back(at::empty(shape, options));
  results.push_back(at::empty(arguments.energy ? wanted.output : kNone, options));
  const int64_t saved = save && backend() == Backend::cpu ? saved_size(arguments) : 0;
  const bool real = options.device().is_cpu();
  results.push_back(real ? saved_buffer(saved, options) : at::empty({saved}, options));
  return results;
}

Tensors AnySequenceOp::run_forward(SequenceArguments arguments, bool save) const {
  make_contiguous(arguments.tensors);
  Tensors results = empty_results(arguments, save);
  forward(arguments, backend() == Backend::cpu, results);
  return results;
}

// One gradient for each of the first tensors; undefined where none is needed.
Tensors AnySequenceOp::empty_gradients(const SequenceArguments& arguments,
                                       const c10::List<bool>& needed) const {
  STPN_CHECK(needed.size() == info_.gradients, "{}: needed has {} entries, wants {}", info_.name,
             needed.size(), info_.gradients);
  const auto options = arguments.tensors.at(0).options().requires_grad(false);
  Tensors gradients;
  for (size_t k = 0; k < info_.gradients; ++k) {
    const at::Tensor& tensor = arguments.tensors.at(k);
    gradients.push_back(tensor.defined() && needed.get(k)
                            ? at::empty_symint(tensor.sym_sizes(), options)
                            : at::Tensor());
  }
  return gradients;
}

Tensors AnySequenceOp::run_backward(SequenceArguments arguments, Tensors grads,
                                    const at::Tensor& output, const at::Tensor& saved,
                                    const c10::List<bool>& needed) const {
  make_contiguous(arguments.tensors);
  make_contiguous(grads);
  const SequenceShapes wanted = check(arguments);
  const bool on_cpu = saved.numel() > 0;
  const auto want = [&](const std::string& name, const at::Tensor& tensor, const Shape& shape) {
    const at::Tensor& first = arguments.tensors[0];
    check_tensor(info_.name, name, tensor, first.scalar_type(), shape, first,
                 info_.tensors[0].name);
  };
  STPN_CHECK(grads.size() == 1 + info_.states.size(), "{}: {} grads, wants {}", info_.name,
             grads.size(), 1 + info_.states.size());
  want("grad_output", grads[0], wanted.output);
  for (size_t k = 0; k < info_.states.size(); ++k) {
    want(std::string("grad_") + info_.states[k], grads[1 + k], wanted.states[k]);
  }
  want("output", output, wanted.output);
  want("saved", saved, {on_cpu ? saved_size(arguments) : 0});
  Tensors gradients = empty_gradients(arguments, needed);
  backward(arguments, on_cpu, grads, output.contiguous(), saved.contiguous(), gradients);
  return gradients;
}

}  // namespace stpn::nn
