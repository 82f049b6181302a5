#include "stpn/nn/stpn_recurrent_op.h"

#include <torch/csrc/autograd/functions/basic_ops.h>
#include <torch/torch.h>

#include <array>
#include <limits>
#include <tuple>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/nn/backend.h"

namespace stpn::nn {
namespace {

using at::Tensor;
using Call = StpnRecurrentCall;
using Tensors = c10::List<OptionalTensor>;
// output, final F, final beta, energy, kept
using ForwardResult = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// The first tensors of a call have gradients; reset and measured have none.
constexpr size_t kGradients = 12;
constexpr size_t kTensors = 14;

// The one place that knows the order of the tensors.
Tensors tensors_of(const Call& c) {
  return Tensors({c.x, c.h, c.F, c.beta, c.weight, c.bias, c.weight_lambda, c.weight_gamma,
                  c.layer_norm_weight, c.layer_norm_bias, c.bias_lambda, c.bias_gamma, c.reset,
                  c.measured});
}

Call call_of(const Tensors& t, const std::vector<std::string>& words, std::optional<double> clamp,
             bool energy) {
  STPN_CHECK(t.size() == kTensors && words.size() == 6, "{} tensors and {} words, wants {} and 6",
             t.size(), words.size(), kTensors);
  for (size_t required : {0, 1, 2, 4, 6, 7}) {
    STPN_CHECK(t.get(required).has_value(), "tensor {} is missing", required);
  }
  return {.x = *t.get(0),
          .h = *t.get(1),
          .F = *t.get(2),
          .beta = t.get(3),
          .weight = *t.get(4),
          .bias = t.get(5),
          .weight_lambda = *t.get(6),
          .weight_gamma = *t.get(7),
          .layer_norm_weight = t.get(8),
          .layer_norm_bias = t.get(9),
          .bias_lambda = t.get(10),
          .bias_gamma = t.get(11),
          .reset = t.get(12),
          .measured = t.get(13),
          .clamp = clamp,
          .words = {words[0], words[1], words[2], words[3], words[4], words[5]},
          .energy = energy};
}

// A size that is a plain number; a symbolic one (tracing) is fixed to what it stands for.
int64_t length(const Tensor& tensor, int64_t dimension) {
  return tensor.sym_size(dimension).guard_int(__FILE__, __LINE__);
}

kernels::Extent extent_of(const Call& c) {
  return {length(c.x, 0), length(c.x, 1), length(c.x, 2), length(c.h, 1)};
}

kernels::StpnRecurrentVariant variant_of(const Call& c) {
  kernels::StpnRecurrentVariant v = variant_of_words(c.words);
  v.clamp = c.clamp.value_or(std::numeric_limits<double>::infinity());
  v.layer_norm = c.layer_norm_weight.has_value();
  v.plastic_bias = c.beta.has_value();
  if (c.weight_lambda.dim() == 1) {
    v.rates = length(c.weight_lambda, 0) == 1 ? kernels::Rates::scalar : kernels::Rates::source;
  }
  v.scalar_bias_rates =
      c.bias_lambda.has_value() && c.bias_lambda->dim() == 1 && length(*c.bias_lambda, 0) == 1;
  return v;
}

void check_tensor(const char* name, const OptionalTensor& tensor, at::ScalarType type,
                  const at::Device& device, const std::vector<int64_t>& shape) {
  if (!tensor.has_value()) return;
  STPN_CHECK(tensor->scalar_type() == type, "stpn_recurrent: {} is {}, wants {}", name,
             c10::toString(tensor->scalar_type()), c10::toString(type));
  STPN_CHECK(tensor->device() == device, "stpn_recurrent: {} is on {}, x on {}", name,
             tensor->device().str(), device.str());
  bool same = tensor->dim() == static_cast<int64_t>(shape.size());
  for (size_t d = 0; same && d < shape.size(); ++d) {
    same = length(*tensor, static_cast<int64_t>(d)) == shape[d];
  }
  STPN_CHECK(same, "stpn_recurrent: {} has shape {}, wants {}", name, c10::str(tensor->sym_sizes()),
             c10::str(at::IntArrayRef(shape)));
}

// Every REQUIRES of the kernels.
void check(const Call& c) {
  const at::ScalarType type = c.x.scalar_type();
  STPN_CHECK(type == at::kFloat || type == at::kDouble,
             "stpn_recurrent: x is {}, wants float or double", c10::toString(type));
  STPN_CHECK(c.x.dim() == 3, "stpn_recurrent: x has {} dimensions, wants 3: (T, B, I)", c.x.dim());
  STPN_CHECK(c.h.dim() == 2, "stpn_recurrent: h has {} dimensions, wants 2: (B, H)", c.h.dim());
  const kernels::Extent e = extent_of(c);
  STPN_CHECK(e.steps > 0 && e.batch > 0 && e.inputs > 0 && e.hidden > 0,
             "stpn_recurrent: T, B, I and H are {}, {}, {} and {}; each wants to be at least 1",
             e.steps, e.batch, e.inputs, e.hidden);
  const kernels::StpnRecurrentVariant v = variant_of(c);
  STPN_CHECK(v.clamp > 0, "stpn_recurrent: clamp is {}, wants to be above 0", v.clamp);
  const int64_t H = e.hidden;
  const int64_t P = kernels::plastic_sources(e, v.connections);
  std::vector<int64_t> rates{1};
  if (v.rates == kernels::Rates::synapse) rates = {H, P};
  if (v.rates == kernels::Rates::source) rates = {P};
  const std::vector<int64_t> bias_rates{v.scalar_bias_rates ? 1 : H};
  auto want = [&](const char* name, const OptionalTensor& tensor,
                  const std::vector<int64_t>& shape) {
    check_tensor(name, tensor, type, c.x.device(), shape);
  };
  want("h", c.h, {e.batch, H});
  want("F", c.F, {e.batch, H, P});
  want("beta", c.beta, {e.batch, H});
  want("weight", c.weight, {H, kernels::sources(e)});
  want("bias", c.bias, {H});
  want("weight_lambda", c.weight_lambda, rates);
  want("weight_gamma", c.weight_gamma, rates);
  want("layer_norm_weight", c.layer_norm_weight, {H});
  want("layer_norm_bias", c.layer_norm_bias, {H});
  want("bias_lambda", c.bias_lambda, bias_rates);
  want("bias_gamma", c.bias_gamma, bias_rates);
  want("measured", c.measured, {kernels::sources(e)});
  check_tensor("reset", c.reset, at::kBool, c.x.device(), {e.steps, e.batch});
  STPN_CHECK(c.layer_norm_weight.has_value() == c.layer_norm_bias.has_value(),
             "stpn_recurrent: layer_norm_weight and layer_norm_bias go together");
  STPN_CHECK(c.beta.has_value() == c.bias_lambda.has_value() &&
                 c.beta.has_value() == c.bias_gamma.has_value(),
             "stpn_recurrent: beta, bias_lambda and bias_gamma go together");
}

bool runs_on_cpu_kernel(const kernels::StpnRecurrentVariant& variant) {
  const bool supported = kernels::stpn_recurrent_cpu_supports(variant);
  STPN_CHECK(backend() != Backend::cpu || supported,
             "stpn_recurrent: the CPU kernel lacks this variant; leave STPN_BACKEND at auto");
  return supported && backend() != Backend::reference;
}

// Shapes of output, final F, final beta, energy and kept. A result there is none of has shape (0).
std::array<std::vector<int64_t>, 5> result_shapes(const Call& c, bool keep) {
  const kernels::Extent e = extent_of(c);
  const kernels::StpnRecurrentVariant v = variant_of(c);
  int64_t kept = 0;
  if (keep && runs_on_cpu_kernel(v)) {
    kept = c.x.scalar_type() == at::kFloat ? kernels::stpn_recurrent_kept_size<float>(e, v)
                                           : kernels::stpn_recurrent_kept_size<double>(e, v);
  }
  const std::vector<int64_t> output{e.steps, e.batch, e.hidden};
  const std::vector<int64_t> F{e.batch, e.hidden, kernels::plastic_sources(e, v.connections)};
  const std::vector<int64_t> beta{e.batch, e.hidden};
  const std::vector<int64_t> none{0};
  return {output, F, v.plastic_bias ? beta : none, c.energy ? output : none, {kept}};
}

// Unwritten results: all that shape inference needs.
ForwardResult empty_results(const Call& c, bool keep) {
  const auto shapes = result_shapes(c, keep);
  const auto empty = [&](size_t k) {
    return at::empty(shapes[k], c.x.options().requires_grad(false));
  };
  return {empty(0), empty(1), empty(2), empty(3), empty(4)};
}

Tensors contiguous(const Tensors& given) {
  Tensors tensors;
  tensors.reserve(given.size());
  for (size_t k = 0; k < given.size(); ++k) {
    const OptionalTensor tensor = given.get(k);
    tensors.push_back(tensor.has_value() ? OptionalTensor(tensor->contiguous()) : std::nullopt);
  }
  return tensors;
}

template <typename T>
const T* read(const OptionalTensor& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<T>() : nullptr;
}
template <typename T>
T* write(const Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.data_ptr<T>() : nullptr;
}

// REQUIRES: c is checked and contiguous.
template <typename T>
kernels::StpnRecurrentForward<T> kernel_call(const Call& c, const ForwardResult& result) {
  kernels::StpnRecurrentForward<T> p;
  p.extent = extent_of(c);
  p.variant = variant_of(c);
  p.x = read<T>(c.x);
  if (c.reset.has_value()) p.reset = reinterpret_cast<const uint8_t*>(read<bool>(c.reset));
  p.initial_h = read<T>(c.h);
  p.initial_F = read<T>(c.F);
  p.initial_beta = read<T>(c.beta);
  p.weight = read<T>(c.weight);
  p.bias = read<T>(c.bias);
  p.weight_lambda = read<T>(c.weight_lambda);
  p.weight_gamma = read<T>(c.weight_gamma);
  p.layer_norm_weight = read<T>(c.layer_norm_weight);
  p.layer_norm_bias = read<T>(c.layer_norm_bias);
  p.bias_lambda = read<T>(c.bias_lambda);
  p.bias_gamma = read<T>(c.bias_gamma);
  p.measured = read<T>(c.measured);
  p.output = write<T>(std::get<0>(result));
  p.final_F = write<T>(std::get<1>(result));
  p.final_beta = write<T>(std::get<2>(result));
  p.energy = write<T>(std::get<3>(result));
  p.kept = write<T>(std::get<4>(result));
  p.parallel = &kernel_parallel_for();
  return p;
}

ForwardResult forward_meta(const Tensors& tensors, const std::vector<std::string>& words,
                           std::optional<double> clamp, bool energy, bool keep) {
  const Call c = call_of(tensors, words, clamp, energy);
  check(c);
  return empty_results(c, keep);
}

template <typename T>
void run_forward(const Call& c, const ForwardResult& result) {
  const auto p = kernel_call<T>(c, result);
  if (runs_on_cpu_kernel(p.variant)) {
    kernels::stpn_recurrent_forward_cpu(p);
  } else {
    kernels::stpn_recurrent_forward_ref(p);
  }
}

ForwardResult forward_cpu(const Tensors& tensors, const std::vector<std::string>& words,
                          std::optional<double> clamp, bool energy, bool keep) {
  const Call c = call_of(contiguous(tensors), words, clamp, energy);
  check(c);
  ForwardResult result = empty_results(c, keep);
  if (c.x.scalar_type() == at::kFloat) {
    run_forward<float>(c, result);
  } else {
    run_forward<double>(c, result);
  }
  return result;
}

// One gradient for each of the first tensors; empty (0) where none is needed.
std::vector<Tensor> backward_meta(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                  const Tensor&, const c10::List<bool>& needed,
                                  const Tensors& tensors, const std::vector<std::string>&,
                                  std::optional<double>) {
  STPN_CHECK(needed.size() == kGradients, "needed has {} entries, wants {}", needed.size(),
             kGradients);
  const auto options = tensors.get(0)->options().requires_grad(false);
  std::vector<Tensor> gradients;
  for (size_t k = 0; k < kGradients; ++k) {
    const OptionalTensor tensor = tensors.get(k);
    gradients.push_back(tensor.has_value() && needed.get(k)
                            ? at::empty_symint(tensor->sym_sizes(), options)
                            : at::empty({0}, options));
  }
  return gradients;
}

template <typename T>
void run_backward(const Call& c, const Tensor& grad_output, const Tensor& grad_F,
                  const Tensor& grad_beta, const Tensor& output, const Tensor& kept,
                  const std::vector<Tensor>& gradients) {
  kernels::StpnRecurrentBackward<T> p;
  p.forward = kernel_call<T>(c, {output, {}, {}, {}, kept});
  p.grad_output = read<T>(grad_output);
  p.grad_final_F = read<T>(grad_F);
  p.grad_final_beta = write<T>(grad_beta);
  T** const slots[kGradients] = {&p.grad_x,
                                 &p.grad_initial_h,
                                 &p.grad_initial_F,
                                 &p.grad_initial_beta,
                                 &p.grad_weight,
                                 &p.grad_bias,
                                 &p.grad_weight_lambda,
                                 &p.grad_weight_gamma,
                                 &p.grad_layer_norm_weight,
                                 &p.grad_layer_norm_bias,
                                 &p.grad_bias_lambda,
                                 &p.grad_bias_gamma};
  for (size_t k = 0; k < kGradients; ++k) *slots[k] = write<T>(gradients[k]);
  if (kept.numel() > 0) {
    kernels::stpn_recurrent_backward_cpu(p);
  } else {
    kernels::stpn_recurrent_backward_ref(p);
  }
}

std::vector<Tensor> backward_cpu(const Tensor& grad_output, const Tensor& grad_F,
                                 const Tensor& grad_beta, const Tensor& output, const Tensor& kept,
                                 const c10::List<bool>& needed, const Tensors& tensors,
                                 const std::vector<std::string>& words,
                                 std::optional<double> clamp) {
  const Call c = call_of(contiguous(tensors), words, clamp, false);
  check(c);
  const auto shapes = result_shapes(c, kept.numel() > 0);
  const auto want = [&](const char* name, const Tensor& tensor, const std::vector<int64_t>& shape) {
    check_tensor(name, tensor, c.x.scalar_type(), c.x.device(), shape);
  };
  want("grad_output", grad_output, shapes[0]);
  want("grad_F", grad_F, shapes[1]);
  want("grad_beta", grad_beta, shapes[2]);
  want("output", output, shapes[0]);
  want("kept", kept, shapes[4]);
  std::vector<Tensor> gradients =
      backward_meta(grad_output, grad_F, grad_beta, output, kept, needed, tensors, words, clamp);
  const auto run = c.x.scalar_type() == at::kFloat ? run_backward<float> : run_backward<double>;
  run(c, grad_output.contiguous(), grad_F.contiguous(), grad_beta.contiguous(), output.contiguous(),
      kept.contiguous(), gradients);
  return gradients;
}

ForwardResult call_forward(const Call& c, bool keep) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("stpn::stpn_recurrent_forward", "")
                             .typed<decltype(forward_cpu)>();
  return op.call(tensors_of(c), {c.words.begin(), c.words.end()}, c.clamp, c.energy, keep);
}

class Differentiable : public torch::autograd::Function<Differentiable> {
 public:
  // The tensors again one by one: autograd sees only arguments that are tensors themselves.
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const Tensor&, const Tensor&, const Tensor&,
                                                const OptionalTensor&, const Tensor&,
                                                const OptionalTensor&, const Tensor&, const Tensor&,
                                                const OptionalTensor&, const OptionalTensor&,
                                                const OptionalTensor&, const OptionalTensor&,
                                                const Call& c) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [output, F, beta, energy, kept] = call_forward(c, /*keep=*/true);
    torch::autograd::variable_list saved{output, kept};
    const Tensors tensors = tensors_of(c);
    for (size_t k = 0; k < kTensors; ++k) saved.push_back(tensors.get(k).value_or(Tensor()));
    context->save_for_backward(saved);
    context->saved_data["words"] = std::vector<std::string>(c.words.begin(), c.words.end());
    context->saved_data["clamp"] = c.clamp;
    context->mark_non_differentiable({energy});
    return {output, F, beta, energy};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("stpn::stpn_recurrent_backward", "")
                               .typed<decltype(backward_cpu)>();
    const auto saved = context->get_saved_variables();
    Tensors tensors;
    for (size_t k = 0; k < kTensors; ++k) {
      const Tensor& tensor = saved[2 + k];
      tensors.push_back(tensor.defined() ? OptionalTensor(tensor) : std::nullopt);
    }
    c10::List<bool> needed;
    size_t edge = 0;  // autograd counts only the tensors that were given
    for (size_t k = 0; k < kGradients; ++k) {
      needed.push_back(saved[2 + k].defined() && context->needs_input_grad(edge++));
    }
    std::vector<Tensor> gradients;
    {
      at::AutoDispatchBelowADInplaceOrView guard;
      gradients = op.call(grads[0], grads[1], grads[2], saved[0], saved[1], needed, tensors,
                          context->saved_data["words"].to<std::vector<std::string>>(),
                          context->saved_data["clamp"].toOptional<double>());
    }
    for (size_t k = 0; k < kGradients; ++k) {
      if (!needed.get(k)) gradients[k] = Tensor();
    }
    gradients.emplace_back();  // of the call
    return at::GradMode::is_enabled() ? refuse_second_derivative(gradients) : gradients;
  }

 private:
  static torch::autograd::variable_list refuse_second_derivative(
      torch::autograd::variable_list gradients) {
    for (Tensor& gradient : gradients) {
      if (gradient.defined()) gradient.set_requires_grad(true);
    }
    torch::autograd::DelayedError error(
        "stpn_recurrent: second derivatives are not implemented; differentiate once, without "
        "create_graph",
        static_cast<int64_t>(gradients.size()));
    return error.apply(std::move(gradients));
  }
};

using Result = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Result op_autograd(const Call& c) {
  bool differentiable = at::GradMode::is_enabled();
  if (differentiable) {
    differentiable = false;
    const Tensors tensors = tensors_of(c);
    for (size_t k = 0; k < kGradients; ++k) {
      const OptionalTensor tensor = tensors.get(k);
      differentiable = differentiable || (tensor.has_value() && tensor->requires_grad());
    }
  }
  if (!differentiable) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [output, F, beta, energy, kept] = call_forward(c, /*keep=*/false);
    return {output, F, beta, energy};
  }
  auto out = Differentiable::apply(c.x, c.h, c.F, c.beta, c.weight, c.bias, c.weight_lambda,
                                   c.weight_gamma, c.layer_norm_weight, c.layer_norm_bias,
                                   c.bias_lambda, c.bias_gamma, c);
  return {out[0], out[1], out[2], out[3]};
}

// The op with its arguments one by one, as Python names them.
Result op(const Tensor& x, const Tensor& h, const Tensor& F, const Tensor& weight,
          const OptionalTensor& bias, const Tensor& weight_lambda, const Tensor& weight_gamma,
          const OptionalTensor& beta, const OptionalTensor& bias_lambda,
          const OptionalTensor& bias_gamma, const OptionalTensor& layer_norm_weight,
          const OptionalTensor& layer_norm_bias, const OptionalTensor& reset,
          const OptionalTensor& measured, std::string norm, std::optional<double> clamp,
          std::string connections, std::string rule, std::string decay, std::string presynaptic,
          std::string activation, bool energy) {
  return op_autograd({.x = x,
                      .h = h,
                      .F = F,
                      .beta = beta,
                      .weight = weight,
                      .bias = bias,
                      .weight_lambda = weight_lambda,
                      .weight_gamma = weight_gamma,
                      .layer_norm_weight = layer_norm_weight,
                      .layer_norm_bias = layer_norm_bias,
                      .bias_lambda = bias_lambda,
                      .bias_gamma = bias_gamma,
                      .reset = reset,
                      .measured = measured,
                      .clamp = clamp,
                      .words = {std::move(norm), std::move(connections), std::move(rule),
                                std::move(decay), std::move(presynaptic), std::move(activation)},
                      .energy = energy});
}

}  // namespace

StpnRecurrentResult stpn_recurrent(const StpnRecurrentCall& call) {
  auto [output, F, beta, energy] = op_autograd(call);
  return {output, F, beta, energy};
}

TORCH_LIBRARY(stpn, m) {
  m.def(
      "stpn_recurrent(Tensor x, Tensor h, Tensor F, Tensor weight, Tensor? bias, "
      "Tensor weight_lambda, Tensor weight_gamma, *, Tensor? beta=None, "
      "Tensor? bias_lambda=None, Tensor? bias_gamma=None, Tensor? layer_norm_weight=None, "
      "Tensor? layer_norm_bias=None, Tensor? reset=None, Tensor? measured=None, "
      "str norm='pre', float? clamp=None, str connections='all', str rule='hebb', "
      "str decay='before_update', str presynaptic='previous', str activation='tanh', "
      "bool energy=False) -> (Tensor output, Tensor F, Tensor beta, Tensor energy)");
  m.def(
      "stpn_recurrent_forward(Tensor?[] tensors, str[] words, float? clamp, bool energy, "
      "bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "stpn_recurrent_backward(Tensor grad_output, Tensor grad_F, Tensor grad_beta, "
      "Tensor output, Tensor kept, bool[] needed, Tensor?[] tensors, str[] words, "
      "float? clamp) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(stpn, CompositeImplicitAutograd, m) { m.impl("stpn_recurrent", op); }

TORCH_LIBRARY_IMPL(stpn, CPU, m) {
  m.impl("stpn_recurrent_forward", forward_cpu);
  m.impl("stpn_recurrent_backward", backward_cpu);
}

TORCH_LIBRARY_IMPL(stpn, Meta, m) {
  m.impl("stpn_recurrent_forward", forward_meta);
  m.impl("stpn_recurrent_backward", backward_meta);
}

}  // namespace stpn::nn
