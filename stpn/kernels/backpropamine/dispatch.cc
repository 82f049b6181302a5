// Dispatch of Backpropamine's CPU kernel: shards of groups over the caller's threads, on the best
// SIMD target of this machine.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stpn/kernels/backpropamine/dispatch.cc"
#include <hwy/foreach_target.h>

// Highway's own headers come after its list of targets.
#include <hwy/highway.h>

#include "stpn/kernels/backpropamine/cpu_backward-inl.h"
#include "stpn/kernels/backpropamine/cpu_forward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T, bool kPlain, bool kTrace>
struct Passes {
  template <class Layout>
  using Forward = ModulatedForward<Layout, kPlain, kTrace>;
  template <class Layout>
  using Backward = ModulatedBackward<Layout, kPlain, kTrace>;
};

// As SynapseUpdate has it.
inline bool is_plain(const BackpropamineVariant& v) {
  return v.addition == Addition::clamp || v.addition == Addition::additive;
}

// Calls run(steps) with the steps made for the variant.
template <typename T, typename Run>
void with_passes(const BackpropamineVariant& v, const Run& run) {
  if (is_plain(v)) {
    v.has_trace() ? run(Passes<T, true, true>()) : run(Passes<T, true, false>());
  } else {
    v.has_trace() ? run(Passes<T, false, true>()) : run(Passes<T, false, false>());
  }
}

template <typename T>
void forward(const BackpropamineForwardParams<T>& p, const ProjectedParameters<T>& parameters,
             const PlasticPlan<T>& plan, int64_t shard) {
  with_passes<T>(p.variant, [&](auto steps) {
    run_shard<decltype(steps)::template Forward, kBackpropamineBatchInterleaved>(
        plan, shard, p.saved, p, parameters);
  });
}

template <typename T>
void backward(const BackpropamineBackwardParams<T>& p, const ProjectedParameters<T>& parameters,
              const PlasticPlan<T>& plan, const GradientSums<T>& gradients, int64_t shard) {
  const Gradients<T> of_layouts(plan, gradients, kSummedMatrices,
                                plan.interleaved_groups > 0 ? plan.hidden : 0);
  with_passes<T>(p.forward.variant, [&](auto steps) {
    run_shard<decltype(steps)::template Backward, kBackpropamineBatchInterleaved>(
        plan, shard, p.forward.saved, p, parameters, of_layouts);
  });
  of_layouts.add_up_lanes();
}

// What is exported has to be a function, not a template.
static constexpr auto& kForwardFloat = forward<float>;
static constexpr auto& kForwardDouble = forward<double>;
static constexpr auto& kBackwardFloat = backward<float>;
static constexpr auto& kBackwardDouble = backward<double>;

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stpn::kernels {
namespace {

HWY_EXPORT(kForwardFloat);
HWY_EXPORT(kForwardDouble);
HWY_EXPORT(kBackwardFloat);
HWY_EXPORT(kBackwardDouble);

void dispatch(const BackpropamineForwardParams<float>& p,
              const ProjectedParameters<float>& parameters, const PlasticPlan<float>& plan,
              int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForwardFloat)(p, parameters, plan, shard);
}
void dispatch(const BackpropamineForwardParams<double>& p,
              const ProjectedParameters<double>& parameters, const PlasticPlan<double>& plan,
              int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kForwardDouble)(p, parameters, plan, shard);
}
void dispatch(const BackpropamineBackwardParams<float>& p,
              const ProjectedParameters<float>& parameters, const PlasticPlan<float>& plan,
              const GradientSums<float>& gradients, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackwardFloat)(p, parameters, plan, gradients, shard);
}
void dispatch(const BackpropamineBackwardParams<double>& p,
              const ProjectedParameters<double>& parameters, const PlasticPlan<double>& plan,
              const GradientSums<double>& gradients, int64_t shard) {
  HWY_DYNAMIC_DISPATCH(kBackwardDouble)(p, parameters, plan, gradients, shard);
}

template <typename T>
ProjectedParameters<T> padded(const BackpropamineForwardParams<T>& p, const PlasticPlan<T>& plan) {
  ProjectedParameters<T> parameters{
      PaddedMatrices<T>(plan, kBackpropamineMatrices),
      PaddedInputWeights<T>(p.extent, {p.weight_ih, p.extent.inputs, p.bias})};
  for (int64_t i = 0; i < plan.hidden; ++i) {
    std::copy_n(p.weight_hh + i * plan.hidden, plan.hidden, parameters.matrices.row(kWeight, i));
    std::copy_n(p.alpha + i * plan.hidden, plan.hidden, parameters.matrices.row(kAlpha, i));
  }
  return parameters;
}

template <typename T>
void store_matrix(const ShardSums<T>& sums, int64_t which, int64_t hidden, T* to) {
  for (int64_t i = 0; i < hidden && to != nullptr; ++i) {
    std::copy_n(sums.row(which, i), hidden, to + i * hidden);
  }
}
template <typename T>
void store_vector(const ShardSums<T>& sums, int64_t which, int64_t count, T* to) {
  if (to != nullptr) std::copy_n(sums.vector(which), count, to);
}

}  // namespace

template <typename T>
std::shared_ptr<const PlasticPlan<T>> backpropamine_cpu_plan(const Extent& extent,
                                                             const BackpropamineVariant& variant) {
  return std::make_shared<const PlasticPlan<T>>(backpropamine_plan<T>(extent, variant));
}

template <typename T>
void backpropamine_forward_cpu(const BackpropamineForwardParams<T>& p) {
  const PlasticPlan<T> plan =
      p.plan != nullptr ? *p.plan : backpropamine_plan<T>(p.extent, p.variant);
  const ProjectedParameters<T> parameters = padded(p, plan);
  for_each_shard(p.parallel, plan.shards,
                 [&](int64_t shard) { dispatch(p, parameters, plan, shard); });
}

template <typename T>
void backpropamine_backward_cpu(const BackpropamineBackwardParams<T>& p) {
  const BackpropamineForwardParams<T>& f = p.forward;
  const PlasticPlan<T> plan =
      f.plan != nullptr ? *f.plan : backpropamine_plan<T>(f.extent, f.variant);
  const ProjectedParameters<T> parameters = padded(f, plan);
  const ShardSums<T> sums(plan, kBackpropamineMatrices, kInput + f.extent.inputs + 1);
  for_each_shard(f.parallel, plan.shards,
                 [&](int64_t shard) { dispatch(p, parameters, plan, sums.start(shard), shard); });
  sums.add_up(f.parallel);
  store_matrix(sums, kWeight, plan.hidden, p.grad_weight_hh);
  store_matrix(sums, kAlpha, plan.hidden, p.grad_alpha);
  store_vector(sums, kModulatorWeight, plan.hidden, p.grad_modulator_weight);
  store_vector(sums, kModulatorBias, 1, p.grad_modulator_bias);
  store_vector(sums, kRate, 1, p.grad_rate);
  store_input_weights<T>(sums, kInput, f.extent, {p.grad_weight_ih, f.extent.inputs, p.grad_bias});
}

template void backpropamine_forward_cpu(const BackpropamineForwardParams<float>&);
template void backpropamine_forward_cpu(const BackpropamineForwardParams<double>&);
template void backpropamine_backward_cpu(const BackpropamineBackwardParams<float>&);
template void backpropamine_backward_cpu(const BackpropamineBackwardParams<double>&);
template std::shared_ptr<const PlasticPlan<float>> backpropamine_cpu_plan(
    const Extent&, const BackpropamineVariant&);
template std::shared_ptr<const PlasticPlan<double>> backpropamine_cpu_plan(
    const Extent&, const BackpropamineVariant&);

}  // namespace stpn::kernels
#endif  // HWY_ONCE
