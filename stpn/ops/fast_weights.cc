#include "stpn/ops/fast_weights.h"

#include <cmath>
#include <optional>
#include <tuple>

#include "stpn/base/error.h"
#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/ops/fixed_weights.h"
#include "stpn/ops/sequence_op.h"

namespace stpn::nn {
namespace {

struct FastWeightsOp {
  using Call = FastWeightsCall;
  static constexpr const char* kName = "fast_weights";

  template <typename T>
  struct Kernel {
    using Forward = kernels::FastWeightsForwardParams<T>;
    using Backward = kernels::FastWeightsBackwardParams<T>;
    static constexpr auto forward_ref = kernels::fast_weights_forward_ref<T>;
    static constexpr auto backward_ref = kernels::fast_weights_backward_ref<T>;
    static constexpr auto forward_cpu = kernels::fast_weights_forward_cpu<T>;
    static constexpr auto backward_cpu = kernels::fast_weights_backward_cpu<T>;
    static constexpr auto saved_size = kernels::fast_weights_saved_size<T>;

    static constexpr TensorSlot<T, Call, Forward, Backward> kTensors[] = {
        {"x", &Call::x, &Forward::x, &Backward::grad_x, Given::always},
        {"h", &Call::h, &Forward::initial_h, &Backward::grad_initial_h, Given::always},
        {"A", &Call::A, &Forward::initial_A, &Backward::grad_initial_A, Given::always},
        {"weight", &Call::weight, &Forward::weight, &Backward::grad_weight, Given::always},
        {"bias", &Call::bias, &Forward::bias, &Backward::grad_bias, Given::always},
        {"layer_norm_weight", &Call::layer_norm_weight, &Forward::layer_norm_weight,
         &Backward::grad_layer_norm_weight, Given::maybe},
        {"layer_norm_bias", &Call::layer_norm_bias, &Forward::layer_norm_bias,
         &Backward::grad_layer_norm_bias, Given::maybe},
    };
    static constexpr StateSlot<T, Forward, Backward> kStates[] = {
        {"A", &Forward::final_A, &Backward::grad_final_A},
    };
  };

  template <typename C, typename Visit>
  static void options(C& c, const Visit& visit) {
    visit(c.inner_steps);
    visit(c.decay);
    visit(c.rate);
  }

  static kernels::Extent extent_of(const Call& c) {
    return {.steps = length(c.x, 0),
            .batch = length(c.x, 1),
            .inputs = length(c.x, 2),
            .hidden = length(c.h, 1)};
  }

  static kernels::FastWeightsVariant variant_of(const Call& c) {
    return {.inner_steps = c.inner_steps,
            .layer_norm = c.layer_norm_weight.defined(),
            .decay = c.decay,
            .rate = c.rate};
  }

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
    const Shape A{e.batch, H, H};
    return {.tensors = {{e.steps, e.batch, I}, {e.batch, H}, A, {H, I + H}, {H}, {H}, {H}},
            .output = output,
            .states = {A}};
  }

  static void check(const Call& c) {
    STPN_CHECK(c.inner_steps >= 1, "{}: inner_steps is {}, wants to be at least 1", kName,
               c.inner_steps);
    STPN_CHECK(std::isfinite(c.decay) && std::isfinite(c.rate),
               "{}: decay and rate are {} and {}, want to be finite", kName, c.decay, c.rate);
    STPN_CHECK(c.layer_norm_weight.defined() == c.layer_norm_bias.defined(),
               "{}: layer_norm_weight and layer_norm_bias go together", kName);
  }
};

at::Tensor energy_of_slow_weights(const FastWeightsCall& c, const at::Tensor& output) {
  const torch::NoGradGuard no_grad;
  at::Tensor before = at::cat({c.h.unsqueeze(0), output.slice(0, 0, -1)});
  if (c.reset.defined()) before = before.masked_fill(c.reset.unsqueeze(2), 0);
  return energy_of_fixed_weights(c.weight, at::cat({c.x, before}, 2), c.measured);
}

using OptionalTensor = std::optional<at::Tensor>;

// The op with its arguments one by one, as Python names them.
std::tuple<at::Tensor, at::Tensor, at::Tensor> from_python(
    const at::Tensor& x, const at::Tensor& h, const at::Tensor& A, const at::Tensor& weight,
    const at::Tensor& bias, const OptionalTensor& layer_norm_weight,
    const OptionalTensor& layer_norm_bias, const OptionalTensor& reset,
    const OptionalTensor& measured, int64_t inner_steps, double decay, double rate, bool energy) {
  const auto given = [](const OptionalTensor& tensor) { return tensor.value_or(at::Tensor()); };
  FastWeightsCall c;
  c.x = x;
  c.h = h;
  c.A = A;
  c.weight = weight;
  c.bias = bias;
  c.layer_norm_weight = given(layer_norm_weight);
  c.layer_norm_bias = given(layer_norm_bias);
  c.measured = given(measured);
  c.reset = given(reset);
  c.inner_steps = inner_steps;
  c.decay = decay;
  c.rate = rate;
  c.energy = energy;
  const auto [output, final_A, spent] = fast_weights(c);
  return {output, final_A, spent};
}

}  // namespace

FastWeightsResult fast_weights(const FastWeightsCall& c) {
  Tensors results = SequenceOp<FastWeightsOp>::run(c);
  check_tensor(FastWeightsOp::kName, "measured", c.measured, c.x.scalar_type(),
               {length(c.weight, 1)}, c.x, "x");
  if (c.energy) results[2] = results[2] + energy_of_slow_weights(c, results[0]);
  return {results[0], results[1], results[2]};
}

TORCH_LIBRARY_FRAGMENT(stpn, m) {
  m.def(
      "fast_weights(Tensor x, Tensor h, Tensor A, Tensor weight, Tensor bias, *, "
      "Tensor? layer_norm_weight=None, Tensor? layer_norm_bias=None, Tensor? reset=None, "
      "Tensor? measured=None, int inner_steps=1, float decay=0.9, float rate=0.5, "
      "bool energy=False) -> (Tensor output, Tensor A, Tensor energy)",
      torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, from_python));
  SequenceOp<FastWeightsOp>::define(m);
}

}  // namespace stpn::nn
