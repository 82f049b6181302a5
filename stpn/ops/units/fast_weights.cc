#include "stpn/ops/units/fast_weights.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "stpn/kernels/fast_weights/cuda/cuda.h"
#include "stpn/ops/energy.h"
#include "stpn/ops/typed_op.h"

namespace stpn::ops {
namespace {

struct FastWeightsUnit {
  static constexpr const kernels::Signature& kSignature = kernels::kFastWeights;
  using Variant = kernels::FastWeightsVariant;
  template <typename T>
  using Fields = kernels::FastWeightsFields<T>;
  template <typename T>
  static constexpr BackendKernels<T, Variant, kernels::FastWeightsForwardParams<T>,
                                  kernels::FastWeightsBackwardParams<T>>
      kBackends[] = {
          {Backend::cpu, kernels::fast_weights_forward_cpu<T>,
           kernels::fast_weights_backward_cpu<T>, kernels::fast_weights_cpu_plan<T>},
          {Backend::batch_invariant, kernels::fast_weights_forward_cpu<T>,
           kernels::fast_weights_backward_cpu<T>, kernels::fast_weights_cpu_plan<T>,
           kernels::Grouping::single_samples},
          {Backend::reference, kernels::fast_weights_forward_ref<T>,
           kernels::fast_weights_backward_ref<T>, nullptr},
          {Backend::cuda, kernels::fast_weights_forward_cuda<T>,
           kernels::fast_weights_backward_cuda<T>, nullptr, kernels::Grouping::fastest,
           kernels::fast_weights_cuda_saved, kernels::fast_weights_cuda_workspace<T>},
  };

  using UnitCall = FastWeightsCall;
  template <typename Visit>
  static void for_each_tensor(const UnitCall& call, const Visit& visit) {
    FAST_WEIGHTS_TENSORS(STPN_VISIT_TENSOR)
  }
  template <typename Visit>
  static void for_each_option(Variant& variant, const Visit& visit) {
    FAST_WEIGHTS_OPTIONS(STPN_VISIT_OPTION)
  }

  static constexpr const char* kWeightName = "weight";
  static constexpr const char* kWeightLayout = "(H, N)";
  static CallSizes sizes_of(const Call& call) {
    const int64_t hidden = length(call.tensors[kWeight], 0);
    return ops::sizes_of(call.tensors[kX], length(call.tensors[kWeight], 1) - hidden, hidden);
  }

  static void complete(Variant& variant, const Call& call) {
    variant.layer_norm = call.tensors[kLayerNormWeight].defined();
  }

  static void check(const Call& call, const Variant& variant) {
    const char* name = kSignature.name;
    STPN_CHECK(variant.inner_steps >= 1, "{}: inner_steps is {}, wants to be at least 1", name,
               variant.inner_steps);
    STPN_CHECK(std::isfinite(variant.decay) && std::isfinite(variant.rate),
               "{}: decay and rate are {} and {}, want to be finite", name, variant.decay,
               variant.rate);
    STPN_CHECK(call.tensors[kLayerNormWeight].defined() == call.tensors[kLayerNormBias].defined(),
               "{}: layer_norm_weight and layer_norm_bias go together", name);
  }

  static bool lacks(std::string_view, const Variant&) { return false; }

  // The kernel measures the fast weights only.
  static void add_energy(const Call& call, Tensors& results) {
    const at::Tensor last = last_activities(call.tensors[kH], results.front(), call.reset);
    at::Tensor& energy = results.back();
    energy = energy + energy_of_fixed_weights(call.tensors[kWeight],
                                              at::cat({call.tensors[kX], last}, 2),
                                              call.tensors[kMeasured]);
  }

 private:
  static constexpr size_t kX = row_of(kSignature, "x");
  static constexpr size_t kH = row_of(kSignature, "h");
  static constexpr size_t kWeight = row_of(kSignature, "weight");
  static constexpr size_t kLayerNormWeight = row_of(kSignature, "layer_norm_weight");
  static constexpr size_t kLayerNormBias = row_of(kSignature, "layer_norm_bias");
  static constexpr size_t kMeasured = row_of(kSignature, "measured");
};

}  // namespace

FastWeightsResult fast_weights(const FastWeightsCall& from) {
  Tensors results = TypedOp<FastWeightsUnit>::run_call(from);
  return {std::move(results[0]), std::move(results[1]), std::move(results[2])};
}

TORCH_LIBRARY_FRAGMENT(stpn, m) { TypedOp<FastWeightsUnit>::one().define(m); }

}  // namespace stpn::ops
