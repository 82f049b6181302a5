#include "stpn/ops/backpropamine.h"

#include <optional>
#include <tuple>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/ops/fixed_weights.h"
#include "stpn/ops/sequence_op.h"
#include "stpn/ops/words.h"

namespace stpn::nn {
namespace {

// In the order of the enums they stand for.
const std::vector<std::string> kNeuromodulations{"modplast", "plastic", "modul"};
const std::vector<std::string> kAdditions{"clamp", "soft_clamp", "additive", "decaying"};
const std::vector<std::string> kModulators{"tanh", "sigmoid", "linear"};

struct BackpropamineOp {
  using Call = BackpropamineCall;
  static constexpr const char* kName = "backpropamine";

  template <typename T>
  struct Kernel {
    using Forward = kernels::BackpropamineForwardParams<T>;
    using Backward = kernels::BackpropamineBackwardParams<T>;
    static constexpr auto forward_ref = kernels::backpropamine_forward_ref<T>;
    static constexpr auto backward_ref = kernels::backpropamine_backward_ref<T>;
    static constexpr auto forward_cpu = kernels::backpropamine_forward_cpu<T>;
    static constexpr auto backward_cpu = kernels::backpropamine_backward_cpu<T>;
    static constexpr auto saved_size = kernels::backpropamine_saved_size<T>;

    static constexpr TensorSlot<T, Call, Forward, Backward> kTensors[] = {
        {"x", &Call::x, &Forward::x, &Backward::grad_x, Given::always},
        {"h", &Call::h, &Forward::initial_h, &Backward::grad_initial_h, Given::always},
        {"P", &Call::P, &Forward::initial_P, &Backward::grad_initial_P, Given::always},
        {"E", &Call::E, &Forward::initial_E, &Backward::grad_initial_E, Given::maybe},
        {"weight_ih", &Call::weight_ih, &Forward::weight_ih, &Backward::grad_weight_ih,
         Given::always},
        {"bias", &Call::bias, &Forward::bias, &Backward::grad_bias, Given::always},
        {"weight_hh", &Call::weight_hh, &Forward::weight_hh, &Backward::grad_weight_hh,
         Given::always},
        {"alpha", &Call::alpha, &Forward::alpha, &Backward::grad_alpha, Given::always},
        {"modulator_weight", &Call::modulator_weight, &Forward::modulator_weight,
         &Backward::grad_modulator_weight, Given::maybe},
        {"modulator_bias", &Call::modulator_bias, &Forward::modulator_bias,
         &Backward::grad_modulator_bias, Given::maybe},
        {"rate", &Call::rate, &Forward::rate, &Backward::grad_rate, Given::maybe},
    };
    static constexpr StateSlot<T, Forward, Backward> kStates[] = {
        {"P", &Forward::final_P, &Backward::grad_final_P},
        {"E", &Forward::final_E, &Backward::grad_final_E},
    };
  };

  template <typename C, typename Visit>
  static void options(C& c, const Visit& visit) {
    visit(c.neuromodulation);
    visit(c.addition);
    visit(c.modulator);
  }

  static kernels::Extent extent_of(const Call& c) {
    return {.steps = length(c.x, 0),
            .batch = length(c.x, 1),
            .inputs = length(c.x, 2),
            .hidden = length(c.h, 1)};
  }

  static kernels::BackpropamineVariant variant_of(const Call& c) { return kernel_variant(c); }

  static SequenceShapes shapes(const Call& c) {
    check_dimensions(kName, "x", c.x, "(T, B, I)");
    check_dimensions(kName, "h", c.h, "(B, H)");
    const kernels::Extent e = extent_of(c);
    STPN_CHECK(e.steps > 0 && e.batch > 0 && e.inputs > 0 && e.hidden > 0,
               "{}: T, B, I and H are {}, {}, {} and {}; each wants to be at least 1", kName,
               e.steps, e.batch, e.inputs, e.hidden);
    const int64_t I = e.inputs;
    const int64_t H = e.hidden;
    const Shape output{e.steps, e.batch, H};
    const Shape P{e.batch, H, H};
    return {
        .tensors =
            {{e.steps, e.batch, I}, {e.batch, H}, P, P, {H, I}, {H}, {H, H}, {H, H}, {H}, {1}, {1}},
        .output = output,
        .states = {P, variant_of(c).has_trace() ? P : kNone}};
  }

  static void check(const Call& c) {
    const kernels::BackpropamineVariant v = variant_of(c);
    const auto want = [&](const char* name, const at::Tensor& tensor, bool wanted) {
      STPN_CHECK(tensor.defined() == wanted, "{}: {} is {}, neuromodulation {} {}", kName, name,
                 wanted ? "missing" : "given", c.neuromodulation, wanted ? "wants it" : "has none");
    };
    want("E", c.E, v.has_trace());
    want("modulator_weight", c.modulator_weight, v.has_modulator());
    want("modulator_bias", c.modulator_bias, v.has_modulator());
    want("rate", c.rate, v.has_rate());
  }
};

using OptionalTensor = std::optional<at::Tensor>;

// The op with its arguments one by one, as Python names them.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> from_python(
    const at::Tensor& x, const at::Tensor& h, const at::Tensor& P, const at::Tensor& weight_ih,
    const at::Tensor& bias, const at::Tensor& weight_hh, const at::Tensor& alpha,
    const OptionalTensor& E, const OptionalTensor& modulator_weight,
    const OptionalTensor& modulator_bias, const OptionalTensor& rate, const OptionalTensor& reset,
    const OptionalTensor& measured, std::string neuromodulation, std::string addition,
    std::string modulator, bool energy) {
  const auto given = [](const OptionalTensor& tensor) { return tensor.value_or(at::Tensor()); };
  BackpropamineCall c;
  c.x = x;
  c.h = h;
  c.P = P;
  c.E = given(E);
  c.weight_ih = weight_ih;
  c.bias = bias;
  c.weight_hh = weight_hh;
  c.alpha = alpha;
  c.modulator_weight = given(modulator_weight);
  c.modulator_bias = given(modulator_bias);
  c.rate = given(rate);
  c.measured = given(measured);
  c.reset = given(reset);
  c.neuromodulation = std::move(neuromodulation);
  c.addition = std::move(addition);
  c.modulator = std::move(modulator);
  c.energy = energy;
  const auto [output, final_P, final_E, spent] = backpropamine(c);
  return {output, final_P, final_E, spent};
}

}  // namespace

std::vector<base::Field> fields_of(BackpropamineWords& w) {
  return {
      base::field(
          "neuromodulation", w.neuromodulation,
          "what writes the plastic part: a modulator computed of the activity (modplast), a "
          "learned constant (plastic), or the modulator by way of an eligibility trace, "
          "which bridges delays (modul)",
          kNeuromodulations),
      base::field(
          "addition", w.addition,
          "how it is written: with a hard or a soft bound, without one, or in place of what "
          "is there (decaying)",
          kAdditions),
      base::field("modulator", w.modulator, "the modulator's activation; plastic has none",
                  kModulators),
  };
}

kernels::BackpropamineVariant kernel_variant(const BackpropamineWords& w) {
  return {.neuromodulation = parse_word<kernels::Neuromodulation>(
              "neuromodulation", w.neuromodulation, kNeuromodulations),
          .addition = parse_word<kernels::Addition>("addition", w.addition, kAdditions),
          .modulator = parse_word<kernels::Modulator>("modulator", w.modulator, kModulators)};
}

BackpropamineResult backpropamine(const BackpropamineCall& c) {
  Tensors results = SequenceOp<BackpropamineOp>::run(c);
  check_tensor(BackpropamineOp::kName, "measured", c.measured, c.x.scalar_type(), {length(c.x, 2)},
               c.x, "x");
  if (c.energy) results[3] = results[3] + energy_of_fixed_weights(c.weight_ih, c.x, c.measured);
  return {results[0], results[1], results[2], results[3]};
}

TORCH_LIBRARY_FRAGMENT(stpn, m) {
  m.def(
      "backpropamine(Tensor x, Tensor h, Tensor P, Tensor weight_ih, Tensor bias, "
      "Tensor weight_hh, Tensor alpha, *, Tensor? E=None, Tensor? modulator_weight=None, "
      "Tensor? modulator_bias=None, Tensor? rate=None, Tensor? reset=None, "
      "Tensor? measured=None, str neuromodulation='modplast', str addition='clamp', "
      "str modulator='tanh', bool energy=False) "
      "-> (Tensor output, Tensor P, Tensor E, Tensor energy)",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, from_python));
  SequenceOp<BackpropamineOp>::define(m);
}

}  // namespace stpn::nn
