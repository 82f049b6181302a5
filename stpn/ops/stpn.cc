#include "stpn/ops/stpn.h"

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/ops/sequence_op.h"

namespace stpn::nn {
namespace {

// Of the two ops, the one with a recurrent drive or the one without.
template <bool recurrent>
struct StpnOp {
  using Call = StpnRecurrentCall;
  static constexpr const char* kName = recurrent ? "stpn_recurrent" : "stpn_feedforward";

  template <typename T>
  struct Kernel {
    using Forward = kernels::StpnForwardParams<T>;
    using Backward = kernels::StpnBackwardParams<T>;
    static constexpr auto forward_ref = kernels::stpn_forward_ref<T>;
    static constexpr auto backward_ref = kernels::stpn_backward_ref<T>;
    static constexpr auto forward_cpu = kernels::stpn_forward_cpu<T>;
    static constexpr auto backward_cpu = kernels::stpn_backward_cpu<T>;
    static constexpr auto saved_size = kernels::stpn_saved_size<T>;

    static constexpr TensorSlot<T, Call, Forward, Backward> kTensors[] = {
        {"x", &Call::x, &Forward::x, &Backward::grad_x, Given::always},
        {"h", &Call::h, &Forward::initial_h, &Backward::grad_initial_h,
         recurrent ? Given::always : Given::maybe},
        {"F", &Call::F, &Forward::initial_F, &Backward::grad_initial_F, Given::always},
        {"beta", &Call::beta, &Forward::initial_beta, &Backward::grad_initial_beta, Given::maybe},
        {"weight", &Call::weight, &Forward::weight, &Backward::grad_weight, Given::always},
        {"bias", &Call::bias, &Forward::bias, &Backward::grad_bias, Given::maybe},
        {"weight_lambda", &Call::weight_lambda, &Forward::weight_lambda,
         &Backward::grad_weight_lambda, Given::always},
        {"weight_gamma", &Call::weight_gamma, &Forward::weight_gamma, &Backward::grad_weight_gamma,
         Given::always},
        {"layer_norm_weight", &Call::layer_norm_weight, &Forward::layer_norm_weight,
         &Backward::grad_layer_norm_weight, Given::maybe},
        {"layer_norm_bias", &Call::layer_norm_bias, &Forward::layer_norm_bias,
         &Backward::grad_layer_norm_bias, Given::maybe},
        {"bias_lambda", &Call::bias_lambda, &Forward::bias_lambda, &Backward::grad_bias_lambda,
         Given::maybe},
        {"bias_gamma", &Call::bias_gamma, &Forward::bias_gamma, &Backward::grad_bias_gamma,
         Given::maybe},
        {"measured", &Call::measured, &Forward::measured, nullptr, Given::maybe},
    };
    static constexpr StateSlot<T, Forward, Backward> kStates[] = {
        {"F", &Forward::final_F, &Backward::grad_final_F},
        {"beta", &Forward::final_beta, &Backward::grad_final_beta},
    };
  };

  template <typename C, typename Visit>
  static void options(C& c, const Visit& visit) {
    visit(c.norm);
    visit(c.clamp);
    visit(c.connections);
    visit(c.rule);
    visit(c.decay);
    visit(c.presynaptic);
    visit(c.activation);
  }

  static kernels::Extent extent_of(const Call& c) {
    return {length(c.x, 0), length(c.x, 1), length(c.x, 2),
            recurrent ? length(c.h, 1) : length(c.weight, 0)};
  }

  static kernels::StpnVariant variant_of(const Call& c) {
    kernels::StpnVariant v = kernel_variant(c, recurrent);
    v.layer_norm = c.layer_norm_weight.defined();
    v.plastic_bias = c.beta.defined();
    if (c.weight_lambda.dim() == 1) {
      v.rates = length(c.weight_lambda, 0) == 1 ? kernels::Rates::scalar : kernels::Rates::presynaptic;
    }
    v.scalar_bias_rates =
        c.bias_lambda.defined() && c.bias_lambda.dim() == 1 && length(c.bias_lambda, 0) == 1;
    return v;
  }

  static SequenceShapes shapes(const Call& c) {
    check_dimensions(kName, "x", c.x, "(T, B, I)");
    if (recurrent) {
      check_dimensions(kName, "h", c.h, "(B, H)");
    } else {
      check_dimensions(kName, "weight", c.weight, "(H, I)");
    }
    const kernels::Extent e = extent_of(c);
    STPN_CHECK(e.steps > 0 && e.batch > 0 && e.inputs > 0 && e.hidden > 0,
               "{}: T, B, I and H are {}, {}, {} and {}; each wants to be at least 1", kName,
               e.steps, e.batch, e.inputs, e.hidden);
    const kernels::StpnVariant v = variant_of(c);
    const int64_t H = e.hidden;
    const int64_t N = kernels::fan_in(e, v);
    const int64_t P = kernels::plastic_fan_in(e, v);
    Shape rates{1};
    if (v.rates == kernels::Rates::synapse) rates = {H, P};
    if (v.rates == kernels::Rates::presynaptic) rates = {P};
    const Shape bias_rates{v.scalar_bias_rates ? 1 : H};
    const Shape F{e.batch, H, P};
    const Shape beta{e.batch, H};
    return {.tensors = {{e.steps, e.batch, e.inputs},
                        {e.batch, H},
                        F,
                        beta,
                        {H, N},
                        {H},
                        rates,
                        rates,
                        {H},
                        {H},
                        bias_rates,
                        bias_rates,
                        {N}},
            .output = {e.steps, e.batch, H},
            .states = {F, v.plastic_bias ? beta : kNone}};
  }

  static void check(const Call& c) {
    STPN_CHECK(recurrent || !c.h.defined(), "{} takes no h", kName);
    STPN_CHECK(c.clamp > 0, "{}: clamp is {}, wants to be above 0", kName, c.clamp);
    STPN_CHECK(c.layer_norm_weight.defined() == c.layer_norm_bias.defined(),
               "{}: layer_norm_weight and layer_norm_bias go together", kName);
    STPN_CHECK(
        c.beta.defined() == c.bias_lambda.defined() && c.beta.defined() == c.bias_gamma.defined(),
        "{}: beta, bias_lambda and bias_gamma go together", kName);
  }
};

using OptionalTensor = std::optional<at::Tensor>;
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

// What both ops take, as Python names it.
StpnRecurrentCall call_of(const at::Tensor& x, const at::Tensor& F, const at::Tensor& weight,
                          const OptionalTensor& bias, const at::Tensor& weight_lambda,
                          const at::Tensor& weight_gamma, const OptionalTensor& beta,
                          const OptionalTensor& bias_lambda, const OptionalTensor& bias_gamma,
                          const OptionalTensor& layer_norm_weight,
                          const OptionalTensor& layer_norm_bias, const OptionalTensor& reset,
                          const OptionalTensor& measured, std::string norm,
                          std::optional<double> clamp, std::string rule, std::string decay,
                          std::string activation, bool energy) {
  const auto given = [](const OptionalTensor& tensor) { return tensor.value_or(at::Tensor()); };
  StpnRecurrentCall c;
  c.x = x;
  c.F = F;
  c.beta = given(beta);
  c.weight = weight;
  c.bias = given(bias);
  c.weight_lambda = weight_lambda;
  c.weight_gamma = weight_gamma;
  c.layer_norm_weight = given(layer_norm_weight);
  c.layer_norm_bias = given(layer_norm_bias);
  c.bias_lambda = given(bias_lambda);
  c.bias_gamma = given(bias_gamma);
  c.measured = given(measured);
  c.reset = given(reset);
  c.norm = std::move(norm);
  c.clamp = clamp.value_or(std::numeric_limits<double>::infinity());
  c.rule = std::move(rule);
  c.decay = std::move(decay);
  c.activation = std::move(activation);
  c.energy = energy;
  return c;
}

template <bool recurrent>
StpnRecurrentResult run(const StpnRecurrentCall& call) {
  const std::vector<at::Tensor> results = SequenceOp<StpnOp<recurrent>>::run(call);
  return {results[0], results[1], results[2], results[3]};
}

Results tuple_of(const StpnRecurrentResult& result) {
  return {result.output, result.F, result.beta, result.energy};
}

Results recurrent_from_python(
    const at::Tensor& x, const at::Tensor& h, const at::Tensor& F, const at::Tensor& weight,
    const OptionalTensor& bias, const at::Tensor& weight_lambda, const at::Tensor& weight_gamma,
    const OptionalTensor& beta, const OptionalTensor& bias_lambda, const OptionalTensor& bias_gamma,
    const OptionalTensor& layer_norm_weight, const OptionalTensor& layer_norm_bias,
    const OptionalTensor& reset, const OptionalTensor& measured, std::string norm,
    std::optional<double> clamp, std::string connections, std::string rule, std::string decay,
    std::string presynaptic, std::string activation, bool energy) {
  StpnRecurrentCall c =
      call_of(x, F, weight, bias, weight_lambda, weight_gamma, beta, bias_lambda, bias_gamma,
              layer_norm_weight, layer_norm_bias, reset, measured, std::move(norm), clamp,
              std::move(rule), std::move(decay), std::move(activation), energy);
  c.h = h;
  c.connections = std::move(connections);
  c.presynaptic = std::move(presynaptic);
  return tuple_of(run<true>(c));
}

Results feedforward_from_python(const at::Tensor& x, const at::Tensor& F, const at::Tensor& weight,
                                const OptionalTensor& bias, const at::Tensor& weight_lambda,
                                const at::Tensor& weight_gamma, const OptionalTensor& beta,
                                const OptionalTensor& bias_lambda, const OptionalTensor& bias_gamma,
                                const OptionalTensor& layer_norm_weight,
                                const OptionalTensor& layer_norm_bias, const OptionalTensor& reset,
                                const OptionalTensor& measured, std::string norm,
                                std::optional<double> clamp, std::string rule, std::string decay,
                                std::string activation, bool energy) {
  return tuple_of(run<false>(call_of(x, F, weight, bias, weight_lambda, weight_gamma, beta,
                                     bias_lambda, bias_gamma, layer_norm_weight, layer_norm_bias,
                                     reset, measured, std::move(norm), clamp, std::move(rule),
                                     std::move(decay), std::move(activation), energy)));
}

}  // namespace

StpnRecurrentResult stpn_recurrent(const StpnRecurrentCall& call) { return run<true>(call); }
StpnRecurrentResult stpn_feedforward(const StpnRecurrentCall& call) { return run<false>(call); }

TORCH_LIBRARY_FRAGMENT(stpn, m) {
  m.def(
      "stpn_recurrent(Tensor x, Tensor h, Tensor F, Tensor weight, Tensor? bias, "
      "Tensor weight_lambda, Tensor weight_gamma, *, Tensor? beta=None, "
      "Tensor? bias_lambda=None, Tensor? bias_gamma=None, Tensor? layer_norm_weight=None, "
      "Tensor? layer_norm_bias=None, Tensor? reset=None, Tensor? measured=None, "
      "str norm='pre', float? clamp=None, str connections='all', str rule='hebb', "
      "str decay='before_update', str presynaptic='previous', str activation='tanh', "
      "bool energy=False) -> (Tensor output, Tensor F, Tensor beta, Tensor energy)",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, recurrent_from_python));
  SequenceOp<StpnOp<true>>::define(m);
  m.def(
      "stpn_feedforward(Tensor x, Tensor F, Tensor weight, Tensor? bias, Tensor weight_lambda, "
      "Tensor weight_gamma, *, Tensor? beta=None, Tensor? bias_lambda=None, "
      "Tensor? bias_gamma=None, Tensor? layer_norm_weight=None, Tensor? layer_norm_bias=None, "
      "Tensor? reset=None, Tensor? measured=None, str norm='pre', float? clamp=None, "
      "str rule='hebb', str decay='before_update', str activation='tanh', bool energy=False) "
      "-> (Tensor output, Tensor F, Tensor beta, Tensor energy)",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, feedforward_from_python));
  SequenceOp<StpnOp<false>>::define(m);
}

}  // namespace stpn::nn
