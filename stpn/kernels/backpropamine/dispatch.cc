// Backpropamine's CPU kernel: shards of the batch over the caller's threads. What a shard does is
// compiled elsewhere (cpu_shard.cc).

#include <algorithm>
#include <cstdint>
#include <memory>

#include "stpn/kernels/backpropamine/cpu_layout.h"
#include "stpn/kernels/backpropamine/cpu_shard.h"
#include "stpn/kernels/cpu/simd_targets.h"

namespace stpn::kernels {
namespace {

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
                                                             const BackpropamineVariant& variant,
                                                             Grouping grouping) {
  return std::make_shared<const PlasticPlan<T>>(backpropamine_plan<T>(extent, variant, grouping));
}

template <typename T>
void backpropamine_forward_cpu(const BackpropamineForwardParams<T>& p) {
  if (!has_simd_target()) return backpropamine_forward_ref(p);
  const PlasticPlan<T> plan =
      p.plan != nullptr ? *p.plan : backpropamine_plan<T>(p.extent, p.variant);
  const ProjectedParameters<T> parameters = padded(p, plan);
  for_each_shard(p.parallel, plan.shards,
                 [&](int64_t shard) { backpropamine_shard(p, parameters, plan, shard); });
}

template <typename T>
void backpropamine_backward_cpu(const BackpropamineBackwardParams<T>& p) {
  if (!has_simd_target() || p.grad_energy != nullptr) return backpropamine_backward_ref(p);
  const BackpropamineForwardParams<T>& f = p.forward;
  const PlasticPlan<T> plan =
      f.plan != nullptr ? *f.plan : backpropamine_plan<T>(f.extent, f.variant);
  const ProjectedParameters<T> parameters = padded(f, plan);
  const ShardSums<T> sums(plan, kBackpropamineMatrices, kInput + f.extent.inputs + 1);
  for_each_shard(f.parallel, plan.shards, [&](int64_t shard) {
    backpropamine_shard(p, parameters, plan, sums.start(shard), shard);
  });
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
    const Extent&, const BackpropamineVariant&, Grouping);
template std::shared_ptr<const PlasticPlan<double>> backpropamine_cpu_plan(
    const Extent&, const BackpropamineVariant&, Grouping);

}  // namespace stpn::kernels
