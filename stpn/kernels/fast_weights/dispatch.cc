// The Fast Weights' CPU kernel: shards of the batch over the caller's threads. What a shard does is
// compiled elsewhere (cpu_shard.cc).

#include <algorithm>
#include <cstdint>
#include <memory>

#include "stpn/kernels/cpu/simd_targets.h"
#include "stpn/kernels/fast_weights/cpu_layout.h"
#include "stpn/kernels/fast_weights/cpu_shard.h"

namespace stpn::kernels {
namespace {

template <typename T>
ProjectedParameters<T> padded(const FastWeightsForwardParams<T>& p, const PlasticPlan<T>& plan) {
  const int64_t columns = p.extent.inputs + plan.hidden;
  return {PaddedMatrices<T>(plan, kFastWeightsMatrices),
          PaddedInputWeights<T>(p.extent, {p.weight, columns, p.bias})};
}
// The recurrent weights of neuron i.
template <typename T>
T* recurrent(const Extent& extent, T* weight, int64_t i) {
  return weight + i * (extent.inputs + extent.hidden) + extent.inputs;
}
// With the recurrent weights: rows of the padded matrix are rows of W.
template <typename T>
ProjectedParameters<T> padded_for_backward(const FastWeightsForwardParams<T>& p,
                                           const PlasticPlan<T>& plan) {
  ProjectedParameters<T> parameters = padded(p, plan);
  for (int64_t i = 0; i < plan.hidden; ++i) {
    std::copy_n(recurrent(p.extent, p.weight, i), plan.hidden,
                parameters.matrices.row(kSlowWeight, i));
  }
  return parameters;
}
// With the recurrent weights transposed: a row is what one neuron gives to all.
template <typename T>
ProjectedParameters<T> padded_for_forward(const FastWeightsForwardParams<T>& p,
                                          const PlasticPlan<T>& plan) {
  ProjectedParameters<T> parameters = padded(p, plan);
  for (int64_t i = 0; i < plan.hidden; ++i) {
    const T* row = recurrent(p.extent, p.weight, i);
    for (int64_t j = 0; j < plan.hidden; ++j) parameters.matrices.row(kSlowWeight, j)[i] = row[j];
  }
  return parameters;
}

}  // namespace

template <typename T>
std::shared_ptr<const PlasticPlan<T>> fast_weights_cpu_plan(const Extent& extent,
                                                            const FastWeightsVariant& variant,
                                                            Grouping grouping) {
  return std::make_shared<const PlasticPlan<T>>(fast_weights_plan<T>(extent, variant, grouping));
}

template <typename T>
void fast_weights_forward_cpu(const FastWeightsForwardParams<T>& p) {
  if (!has_simd_target()) return fast_weights_forward_ref(p);
  const PlasticPlan<T> plan =
      p.plan != nullptr ? *p.plan : fast_weights_plan<T>(p.extent, p.variant);
  const ProjectedParameters<T> parameters = padded_for_forward(p, plan);
  for_each_shard(p.parallel, plan.shards,
                 [&](int64_t shard) { fast_weights_shard(p, parameters, plan, shard); });
}

template <typename T>
void fast_weights_backward_cpu(const FastWeightsBackwardParams<T>& p) {
  if (!has_simd_target() || p.grad_energy != nullptr) return fast_weights_backward_ref(p);
  const FastWeightsForwardParams<T>& f = p.forward;
  const PlasticPlan<T> plan =
      f.plan != nullptr ? *f.plan : fast_weights_plan<T>(f.extent, f.variant);
  const ProjectedParameters<T> parameters = padded_for_backward(f, plan);
  const ShardSums<T> sums(plan, kFastWeightsMatrices, kInput + f.extent.inputs + 1);
  for_each_shard(f.parallel, plan.shards, [&](int64_t shard) {
    fast_weights_shard(p, parameters, plan, sums.start(shard), shard);
  });
  sums.add_up(f.parallel);
  const auto store = [&](const T* from, T* to) {
    if (to != nullptr) std::copy_n(from, plan.hidden, to);
  };
  for (int64_t i = 0; i < plan.hidden && p.grad_weight != nullptr; ++i) {
    store(sums.row(kSlowWeight, i), recurrent(f.extent, p.grad_weight, i));
  }
  store(sums.vector(kGain), p.grad_layer_norm_weight);
  store(sums.vector(kOffset), p.grad_layer_norm_bias);
  store_input_weights<T>(sums, kInput, f.extent,
                         {p.grad_weight, f.extent.inputs + plan.hidden, p.grad_bias});
}

template void fast_weights_forward_cpu(const FastWeightsForwardParams<float>&);
template void fast_weights_forward_cpu(const FastWeightsForwardParams<double>&);
template void fast_weights_backward_cpu(const FastWeightsBackwardParams<float>&);
template void fast_weights_backward_cpu(const FastWeightsBackwardParams<double>&);
template std::shared_ptr<const PlasticPlan<float>> fast_weights_cpu_plan(const Extent&,
                                                                         const FastWeightsVariant&,
                                                                         Grouping);
template std::shared_ptr<const PlasticPlan<double>> fast_weights_cpu_plan(const Extent&,
                                                                          const FastWeightsVariant&,
                                                                          Grouping);

}  // namespace stpn::kernels
