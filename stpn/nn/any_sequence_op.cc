#include "stpn/nn/any_sequence_op.h"

#include <torch/csrc/autograd/functions/basic_ops.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/backend.h"
#include "stpn/nn/kept_memory.h"

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
                        bool energy, bool keep);
using Backward = Tensors(const Optionals& grads, const at::Tensor& output, const at::Tensor& kept,
                         const c10::List<bool>& needed, const Optionals& tensors,
                         const Words& words, const Numbers& numbers);

template <typename Signature>
auto registered(const std::string& name) {
  return c10::Dispatcher::singleton()
      .findSchemaOrThrow(("stpn::" + name).c_str(), "")
      .typed<Signature>();
}

Optionals optionals_of(const Tensors& tensors) {
  Optionals optionals;
  for (const at::Tensor& tensor : tensors) {
    optionals.push_back(tensor.defined() ? std::optional(tensor) : std::nullopt);
  }
  return optionals;
}

Tensors tensors_of(const Optionals& optionals) {
  Tensors tensors;
  for (const std::optional<at::Tensor>& tensor : optionals) {
    tensors.push_back(tensor.value_or(at::Tensor()));
  }
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

class AnySequenceOp::Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  // Autograd sees only arguments that are tensors themselves: `given` are those that have
  // gradients.
  static Tensors forward(torch::autograd::AutogradContext* context, at::TensorList /*given*/,
                         const AnySequenceOp* op, const SequenceArguments& arguments) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Tensors results = op->call_forward(arguments, /*keep=*/true);
    Tensors saved{results.front(), results.back()};
    saved.insert(saved.end(), arguments.tensors.begin(), arguments.tensors.end());
    context->save_for_backward(saved);
    context->saved_data["name"] = std::string(op->info_.name);
    context->saved_data["gradients"] = static_cast<int64_t>(op->info_.gradients);
    context->saved_data["words"] = arguments.words;
    context->saved_data["numbers"] = arguments.numbers;
    results.pop_back();
    context->mark_non_differentiable({results.back()});  // energy
    context->set_materialize_grads(false);  // zeros for the final state would cost a pass over it
    return results;
  }

  static Tensors backward(torch::autograd::AutogradContext* context, Tensors grads) {
    const Tensors saved = context->get_saved_variables();
    const std::string name = context->saved_data["name"].toStringRef();
    const auto count = static_cast<size_t>(context->saved_data["gradients"].toInt());
    grads.pop_back();  // of the energy
    c10::List<bool> needed;
    size_t edge = 0;  // autograd counts only the tensors that were given
    for (size_t k = 0; k < count; ++k) {
      needed.push_back(saved[2 + k].defined() && context->needs_input_grad(edge++));
    }
    Tensors all;
    {
      at::AutoDispatchBelowADInplaceOrView guard;
      all = registered<Backward>(name + "_backward")
                .call(optionals_of(grads), saved[0], saved[1], needed,
                      optionals_of(Tensors(saved.begin() + 2, saved.end())),
                      context->saved_data["words"].to<Words>(),
                      context->saved_data["numbers"].to<Numbers>());
    }
    Tensors gradients;
    for (size_t k = 0; k < count; ++k) {
      if (saved[2 + k].defined()) gradients.push_back(needed.get(k) ? all[k] : at::Tensor());
    }
    gradients.resize(gradients.size() + 2);  // of the arguments that are no tensors
    return at::GradMode::is_enabled() ? refuse_second_derivative(name, gradients) : gradients;
  }
};

Tensors AnySequenceOp::call_forward(const SequenceArguments& arguments, bool keep) const {
  if (arguments.closed_loop != nullptr) {
    for (const at::Tensor& tensor : {arguments.tensors[0], arguments.tensors.back()}) {
      STPN_CHECK(!tensor.defined() || tensor.is_contiguous(),
                 "{}: in a closed loop {} and reset are written as it goes: want to be contiguous",
                 info_.name, info_.tensors[0].name);
    }
    return run_forward(arguments, keep);
  }
  return registered<Forward>(std::string(info_.name) + "_forward")
      .call(optionals_of(arguments.tensors), arguments.words, arguments.numbers, arguments.energy,
            keep);
}

Tensors AnySequenceOp::run_any(const SequenceArguments& arguments) const {
  Tensors given;
  bool differentiable = false;
  for (size_t k = 0; k < info_.gradients; ++k) {
    const at::Tensor& tensor = arguments.tensors[k];
    if (!tensor.defined()) continue;
    given.push_back(tensor);
    differentiable = differentiable || tensor.requires_grad();
  }
  if (differentiable && at::GradMode::is_enabled()) {
    return Differentiable::apply(at::TensorList(given), this, arguments);
  }
  at::AutoDispatchBelowADInplaceOrView guard;
  Tensors results = call_forward(arguments, /*keep=*/false);
  results.pop_back();
  return results;
}

void AnySequenceOp::define_any(torch::Library& m) const {
  const std::string forward = std::string(info_.name) + "_forward";
  const std::string backward = std::string(info_.name) + "_backward";
  m.def((forward + "(Tensor?[] tensors, str[] words, float[] numbers, bool energy, bool keep) "
                   "-> Tensor[]")
            .c_str());
  m.def((backward + "(Tensor?[] grads, Tensor output, Tensor kept, bool[] needed, "
                    "Tensor?[] tensors, str[] words, float[] numbers) -> Tensor[]")
            .c_str());
  const auto on = [&m](c10::DispatchKey key, const std::string& name, auto kernel) {
    m.impl(name.c_str(), torch::dispatch(key, torch::CppFunction(std::move(kernel))));
  };
  on(c10::DispatchKey::CPU, forward,
     [this](const Optionals& tensors, const Words& words, const Numbers& numbers, bool energy,
            bool keep) {
       return run_forward(arguments_of(tensors, words, numbers, energy), keep);
     });
  on(c10::DispatchKey::Meta, forward,
     [this](const Optionals& tensors, const Words& words, const Numbers& numbers, bool energy,
            bool keep) {
       return empty_results(arguments_of(tensors, words, numbers, energy), keep);
     });
  on(c10::DispatchKey::CPU, backward,
     [this](const Optionals& grads, const at::Tensor& output, const at::Tensor& kept,
            const c10::List<bool>& needed, const Optionals& tensors, const Words& words,
            const Numbers& numbers) {
       return run_backward(arguments_of(tensors, words, numbers, false), tensors_of(grads), output,
                           kept, needed);
     });
  on(c10::DispatchKey::Meta, backward,
     [this](const Optionals&, const at::Tensor&, const at::Tensor&, const c10::List<bool>& needed,
            const Optionals& tensors, const Words& words, const Numbers& numbers) {
       return empty_gradients(arguments_of(tensors, words, numbers, false), needed);
     });
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

bool AnySequenceOp::on_cpu_kernel(const SequenceArguments& arguments) const {
  const bool supported = cpu_supports(arguments);
  STPN_CHECK(backend() != Backend::cpu || supported,
             "{}: the CPU kernel lacks this variant; leave STPN_BACKEND at auto", info_.name);
  return supported && backend() != Backend::reference;
}

// Unwritten results: all that shape inference needs.
Tensors AnySequenceOp::empty_results(const SequenceArguments& arguments, bool keep) const {
  const SequenceShapes wanted = check(arguments);
  const auto options = arguments.tensors[0].options().requires_grad(false);
  Tensors results{at::empty(wanted.output, options)};
  for (const Shape& shape : wanted.states) results.push_back(at::empty(shape, options));
  results.push_back(at::empty(arguments.energy ? wanted.output : kNone, options));
  const int64_t kept = keep && on_cpu_kernel(arguments) ? kept_size(arguments) : 0;
  const bool real = options.device().is_cpu();
  results.push_back(real ? kept_memory(kept, options) : at::empty({kept}, options));
  return results;
}

Tensors AnySequenceOp::run_forward(SequenceArguments arguments, bool keep) const {
  make_contiguous(arguments.tensors);
  Tensors results = empty_results(arguments, keep);
  forward(arguments, on_cpu_kernel(arguments), results);
  return results;
}

// One gradient for each of the first tensors; empty (0) where none is needed.
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
                            : at::empty({0}, options));
  }
  return gradients;
}

Tensors AnySequenceOp::run_backward(SequenceArguments arguments, Tensors grads,
                                    const at::Tensor& output, const at::Tensor& kept,
                                    const c10::List<bool>& needed) const {
  make_contiguous(arguments.tensors);
  make_contiguous(grads);
  const SequenceShapes wanted = check(arguments);
  const bool on_cpu = kept.numel() > 0;
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
  want("kept", kept, {on_cpu ? kept_size(arguments) : 0});
  Tensors gradients = empty_gradients(arguments, needed);
  backward(arguments, on_cpu, grads, output.contiguous(), kept.contiguous(), gradients);
  return gradients;
}

}  // namespace stpn::nn
