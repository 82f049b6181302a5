#include "stpn/ops/units/backpropamine.h"

#include <utility>

#include "stpn/kernels/backpropamine/cuda/cuda.h"
#include "stpn/ops/energy.h"
#include "stpn/ops/typed_op.h"

namespace stpn::ops {
namespace {

struct BackpropamineUnit {
  static constexpr const kernels::Signature& kSignature = kernels::kBackpropamine;
  using Variant = kernels::BackpropamineVariant;
  template <typename T>
  using Fields = kernels::BackpropamineFields<T>;
  template <typename T>
  static constexpr BackendKernels<T, Variant, kernels::BackpropamineForwardParams<T>,
                                  kernels::BackpropamineBackwardParams<T>>
      kBackends[] = {
          {Backend::cpu, kernels::backpropamine_forward_cpu<T>,
           kernels::backpropamine_backward_cpu<T>, kernels::backpropamine_cpu_plan<T>},
          {Backend::batch_invariant, kernels::backpropamine_forward_cpu<T>,
           kernels::backpropamine_backward_cpu<T>, kernels::backpropamine_cpu_plan<T>,
           kernels::Grouping::single_samples},
          {Backend::reference, kernels::backpropamine_forward_ref<T>,
           kernels::backpropamine_backward_ref<T>, nullptr},
          {Backend::cuda, kernels::backpropamine_forward_cuda<T>,
           kernels::backpropamine_backward_cuda<T>, nullptr, kernels::Grouping::fastest,
           kernels::backpropamine_cuda_saved, kernels::backpropamine_cuda_workspace<T>},
  };

  using UnitCall = BackpropamineCall;
  template <typename Visit>
  static void for_each_tensor(const UnitCall& call, const Visit& visit) {
    BACKPROPAMINE_TENSORS(STPN_VISIT_TENSOR)
  }
  template <typename Visit>
  static void for_each_option(Variant& variant, const Visit& visit) {
    BACKPROPAMINE_OPTIONS(STPN_VISIT_OPTION)
  }

  static constexpr const char* kWeightName = "weight_ih";
  static constexpr const char* kWeightLayout = "(H, I)";
  static CallSizes sizes_of(const Call& call) {
    const at::Tensor& weight = call.tensors[kWeightIh];
    return ops::sizes_of(call.tensors[kX], length(weight, 1), length(weight, 0));
  }

  static void complete(Variant&, const Call&) {}

  static void check(const Call& call, const Variant& variant) {
    const auto want = [&](const char* name, bool wanted) {
      const auto neuromodulation = static_cast<size_t>(variant.neuromodulation);
      STPN_CHECK(call.tensors[row_of(kSignature, name)].defined() == wanted,
                 "{}: {} is {}, neuromodulation {} {}", kSignature.name, name,
                 wanted ? "missing" : "given",
                 choices_of(kSignature.options.front()).at(neuromodulation),
                 wanted ? "wants it" : "has none");
    };
    want("E", variant.has_trace());
    want("modulator_weight", variant.has_modulator());
    want("modulator_bias", variant.has_modulator());
    want("rate", variant.has_rate());
  }

  static bool lacks(std::string_view state, const Variant& variant) {
    return state == "E" && !variant.has_trace();
  }

  // The kernel measures the recurrent synapses only.
  static void add_energy(const Call& call, Tensors& results) {
    at::Tensor& energy = results.back();
    energy = energy + energy_of_fixed_weights(call.tensors[kWeightIh], call.tensors[kX],
                                              call.tensors[kMeasured]);
  }

 private:
  static constexpr size_t kX = row_of(kSignature, "x");
  static constexpr size_t kWeightIh = row_of(kSignature, "weight_ih");
  static constexpr size_t kMeasured = row_of(kSignature, "measured");
};

}  // namespace

BackpropamineResult backpropamine(const BackpropamineCall& from) {
  Tensors results = TypedOp<BackpropamineUnit>::run_call(from);
  return {std::move(results[0]), std::move(results[1]), std::move(results[2]),
          std::move(results[3])};
}

TORCH_LIBRARY_FRAGMENT(stpn, m) { TypedOp<BackpropamineUnit>::one().define(m); }

}  // namespace stpn::ops
