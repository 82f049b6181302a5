#include "stpn/ops/units/stpn.h"

#include <utility>

#include "stpn/kernels/stpn/cuda/cuda.h"
#include "stpn/ops/energy.h"
#include "stpn/ops/typed_op.h"

namespace stpn::ops {
namespace {

using kernels::kStpnFeedforward;
using kernels::kStpnRecurrent;

bool is_one_value(const at::Tensor& tensor) { return tensor.dim() == 1 && length(tensor, 0) == 1; }

template <bool recurrent>
struct StpnUnit {
  static constexpr const kernels::Signature& kSignature =
      recurrent ? kStpnRecurrent : kStpnFeedforward;
  using Variant = kernels::StpnVariant;
  template <typename T>
  using Fields = kernels::StpnFields<T>;
  template <typename T>
  static constexpr BackendKernels<T, Variant, kernels::StpnForwardParams<T>,
                                  kernels::StpnBackwardParams<T>>
      kBackends[] = {
          {Backend::cpu, kernels::stpn_forward_cpu<T>, kernels::stpn_backward_cpu<T>,
           kernels::stpn_cpu_plan<T>},
          {Backend::batch_invariant, kernels::stpn_forward_cpu<T>, kernels::stpn_backward_cpu<T>,
           kernels::stpn_cpu_plan<T>, kernels::Grouping::single_samples},
          {Backend::reference, kernels::stpn_forward_ref<T>, kernels::stpn_backward_ref<T>,
           nullptr},
          {Backend::cuda, kernels::stpn_forward_cuda<T>, kernels::stpn_backward_cuda<T>, nullptr,
           kernels::Grouping::fastest, kernels::stpn_cuda_saved, kernels::stpn_cuda_workspace<T>},
  };

  using UnitCall = StpnCall;
  template <typename Visit>
  static void for_each_tensor(const UnitCall& call, const Visit& visit) {
    STPN_TENSORS(STPN_VISIT_TENSOR)
  }
  template <typename Visit>
  static void for_each_option(Variant& variant, const Visit& visit) {
    STPN_OPTIONS(STPN_VISIT_OPTION)
  }

  static constexpr const char* kWeightName = "weight";
  static constexpr const char* kWeightLayout = "(H, N)";
  static CallSizes sizes_of(const Call& call) {
    const int64_t hidden = length(call.tensors[kWeight], 0);
    const int64_t inputs = length(call.tensors[kWeight], 1) - (recurrent ? hidden : 0);
    return ops::sizes_of(call.tensors[kX], inputs, hidden);
  }

  static void complete(Variant& variant, const Call& call) {
    variant.recurrent = recurrent;
    variant.layer_norm = call.tensors[kLayerNormWeight].defined();
    variant.plastic_bias = call.tensors[kBeta].defined();
    const at::Tensor& lambda = call.tensors[kLambda];
    if (lambda.dim() == 1) {
      variant.rates = is_one_value(lambda) ? kernels::Rates::scalar : kernels::Rates::presynaptic;
    }
    const at::Tensor& bias_lambda = call.tensors[kBiasLambda];
    variant.scalar_bias_rates = bias_lambda.defined() && is_one_value(bias_lambda);
    variant.update_gate = call.tensors[kUpdateWeight].defined();
    variant.write_gate = call.tensors[kWriteWeight].defined();
    variant.decay_gate = call.tensors[kDecayWeight].defined();
  }

  static void check(const Call& call, const Variant& variant) {
    const char* name = kSignature.name;
    const auto given = [&](size_t row) { return call.tensors[row].defined(); };
    STPN_CHECK(variant.clamp > 0, "{}: clamp is {}, wants to be above 0", name, variant.clamp);
    STPN_CHECK(given(kLayerNormWeight) == given(kLayerNormBias),
               "{}: layer_norm_weight and layer_norm_bias go together", name);
    STPN_CHECK(given(kBeta) == given(kBiasLambda) && given(kBeta) == given(kBiasGamma),
               "{}: beta, bias_lambda and bias_gamma go together", name);
    STPN_CHECK(given(kUpdateWeight) || !given(kUpdateBias),
               "{}: update_bias goes with update_weight", name);
    STPN_CHECK(variant.rule != kernels::Rule::oja || !(variant.write_gate || variant.decay_gate),
               "{}: a write or a decay gate does not go with rule oja", name);
    STPN_CHECK(variant.norm == kernels::Norm::pre || !variant.decay_gate,
               "{}: a decay gate wants norm pre", name);
    STPN_CHECK(kernels::is_complete_delta(variant),
               "{}: rule delta wants norm pre, decay before_update, presynaptic previous and "
               "connections all",
               name);
    same_shape(call, kLambda, kLambda + 1);
    if (given(kBiasLambda)) same_shape(call, kBiasLambda, kBiasGamma);
  }

  static bool lacks(std::string_view state, const Variant& variant) {
    return state == "beta" && !variant.plastic_bias;
  }

  // The kernel measures W and F, not the gates.
  static void add_energy(const Call& call, Tensors& results) {
    at::Tensor& energy = results.back();
    const auto add = [&](size_t row, const at::Tensor& z) {
      const at::Tensor& weight = call.tensors[row];
      if (!weight.defined()) return;
      energy = energy + energy_of_fixed_weights(weight, z, call.tensors[kMeasured]);
    };
    const at::Tensor& x = call.tensors[kX];
    if (call.tensors[kUpdateWeight].defined()) {
      add(kUpdateWeight,
          at::cat({x, last_activities(call.tensors[kH], results.front(), call.reset)}, 2));
    }
    add(kWriteWeight, x);
    add(kDecayWeight, x);
  }

 private:
  static constexpr size_t kX = row_of(kStpnRecurrent, "x");
  static constexpr size_t kH = row_of(kStpnRecurrent, "h");
  static constexpr size_t kWeight = row_of(kStpnRecurrent, "weight");
  static constexpr size_t kLambda = row_of(kStpnRecurrent, "weight_lambda");
  static constexpr size_t kBeta = row_of(kStpnRecurrent, "beta");
  static constexpr size_t kBiasLambda = row_of(kStpnRecurrent, "bias_lambda");
  static constexpr size_t kBiasGamma = row_of(kStpnRecurrent, "bias_gamma");
  static constexpr size_t kLayerNormWeight = row_of(kStpnRecurrent, "layer_norm_weight");
  static constexpr size_t kLayerNormBias = row_of(kStpnRecurrent, "layer_norm_bias");
  static constexpr size_t kUpdateWeight = row_of(kStpnRecurrent, "update_weight");
  static constexpr size_t kUpdateBias = row_of(kStpnRecurrent, "update_bias");
  static constexpr size_t kWriteWeight = row_of(kStpnRecurrent, "write_weight");
  static constexpr size_t kDecayWeight = row_of(kStpnRecurrent, "decay_weight");
  static constexpr size_t kMeasured = row_of(kStpnRecurrent, "measured");

  static void same_shape(const Call& call, size_t one, size_t other) {
    STPN_CHECK(call.tensors[one].dim() == call.tensors[other].dim() &&
                   length(call.tensors[one], 0) == length(call.tensors[other], 0),
               "{}: {} has shape {}, {} has shape {}: they want to be the same", kSignature.name,
               kSignature.tensors[one].name, c10::str(call.tensors[one].sym_sizes()),
               kSignature.tensors[other].name, c10::str(call.tensors[other].sym_sizes()));
  }
};

template <bool recurrent>
StpnResult run(const StpnCall& from) {
  Tensors results = TypedOp<StpnUnit<recurrent>>::run_call(from);
  return {std::move(results[0]), std::move(results[1]), std::move(results[2]),
          std::move(results[3])};
}

}  // namespace

StpnResult stpn_recurrent(const StpnCall& call) { return run<true>(call); }
StpnResult stpn_feedforward(const StpnCall& call) { return run<false>(call); }

TORCH_LIBRARY_FRAGMENT(stpn, m) {
  TypedOp<StpnUnit<true>>::one().define(m);
  TypedOp<StpnUnit<false>>::one().define(m);
}

}  // namespace stpn::ops
