// The STPN's CPU kernel: shards of the batch over the caller's threads. What a shard does is
// compiled elsewhere (cpu_shard.cc).

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "stpn/kernels/cpu/simd_targets.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/cpu_shard.h"
#include "stpn/kernels/stpn/row_halves/row_halves.h"

namespace stpn::kernels {
namespace {

// Whether a call with a plan of two steps a sweep has them. Forward that saves nothing is faster
// without: half of what its sweeps add up is for backward.
template <typename T>
bool in_two_steps(const StpnForwardParams<T>& p) {
  return p.saved != nullptr && p.energy == nullptr;
}
template <typename T>
bool in_two_steps(const StpnBackwardParams<T>& p) {
  return p.grad_energy == nullptr;
}

template <typename T, typename Call>
bool takes_two_steps(const PlasticPlan<T>& plan, const Call& p) {
  return plan.two_steps && in_two_steps(p);
}

// Whether its rows are in halves. In a closed loop they would have to meet twice in each step.
template <typename T>
bool in_halves(const StpnForwardParams<T>& p, const PlasticPlan<T>& plan) {
  return has_row_halves(p.extent, p.variant, plan) && p.closed_loop == nullptr;
}
template <typename T>
bool in_halves(const StpnBackwardParams<T>& p, const PlasticPlan<T>& plan) {
  return has_row_halves(p.forward.extent, p.forward.variant, plan) && p.grad_energy == nullptr;
}

// The groups that run in neuron blocks come first.
template <typename T, typename Call, typename... Arguments>
void run(const Call& p, const StpnParameters<T>& parameters, const PlasticPlan<T>& plan,
         int64_t shard, const Arguments&... gradients) {
  if (takes_two_steps(plan, p)) {
    return stpn_two_steps(p, parameters, plan, gradients..., shard);
  }
  if (plan.first_group(shard) < plan.interleaved_groups) {
    stpn_neuron_blocks(p, parameters, plan, gradients..., shard);
  }
  if (plan.first_group(shard + 1) > plan.interleaved_groups) {
    stpn_row_vectorised(p, parameters, plan, gradients..., shard);
  }
}

// Calls use(i, j, index) for every plastic synapse: neuron i, presynaptic input j, and the index of
// its rate among the values of Lambda or Gamma.
template <typename Use>
void for_each_rate(const Extent& extent, const StpnVariant& variant, const Use& use) {
  const int64_t plastic = plastic_fan_in(extent, variant);
  const int64_t first = first_plastic_input(extent, variant);
  for (int64_t i = 0; i < extent.hidden; ++i) {
    for (int64_t j = 0; j < plastic; ++j) {
      int64_t index = i * plastic + j;
      if (variant.rates == Rates::presynaptic) index = j;
      if (variant.rates == Rates::scalar) index = 0;
      use(i, first + j, index);
    }
  }
}

// With decay after the update, F = Lambda (F + Gamma change) = Lambda F + (Lambda Gamma) change:
// the kernel then gets Lambda Gamma for its Gamma.
template <typename T>
StpnParameters<T> padded(const StpnForwardParams<T>& p, const PlasticPlan<T>& plan) {
  PaddedMatrices<T> parameters(plan, kStpnMatrices);
  for (int64_t i = 0; i < plan.hidden; ++i) {
    std::copy_n(p.weight + i * plan.fan_in, plan.fan_in, parameters.row(kWeight, i));
  }
  const bool after = p.variant.decay == Decay::after_update;
  for_each_rate(p.extent, p.variant, [&](int64_t i, int64_t j, int64_t index) {
    const T lambda = p.weight_lambda[index];
    parameters.row(kLambda, i)[j] = lambda;
    parameters.row(kGamma, i)[j] = p.weight_gamma[index] * (after ? lambda : T(1));
  });
  return {p, std::move(parameters)};
}

// The gradients of Lambda and Gamma, of the synapses or of the plastic bias, from those of what the
// kernel gets for them (padded() has it). Null: not wanted.
template <typename T>
struct RateGradients {
  void clear(int64_t count) const {
    if (of_lambda != nullptr) std::fill_n(of_lambda, count, T(0));
    if (of_gamma != nullptr) std::fill_n(of_gamma, count, T(0));
  }
  // Adds a synapse's gradients to those of its rate.
  void add(int64_t rate, T d_lambda, T d_growth) const {
    const bool after = decay == Decay::after_update;
    if (of_lambda != nullptr) of_lambda[rate] += d_lambda + (after ? d_growth * gamma[rate] : T(0));
    if (of_gamma != nullptr) of_gamma[rate] += d_growth * (after ? lambda[rate] : T(1));
  }

  Decay decay;
  const T *lambda, *gamma;
  T *of_lambda, *of_gamma;
};

template <typename T>
void store_gradients(const StpnBackwardParams<T>& p, const PlasticPlan<T>& plan,
                     const ShardSums<T>& sums) {
  const StpnForwardParams<T>& f = p.forward;
  const auto store = [&](StpnVector which, T* to) {
    if (to != nullptr) std::copy_n(sums.vector(which), plan.hidden, to);
  };
  store(kBias, p.grad_bias);
  if (f.variant.layer_norm) {
    store(kLayerNormWeight, p.grad_layer_norm_weight);
    store(kLayerNormBias, p.grad_layer_norm_bias);
  }
  for (int64_t i = 0; i < plan.hidden && p.grad_weight != nullptr; ++i) {
    std::copy_n(sums.row(kWeight, i), plan.fan_in, p.grad_weight + i * plan.fan_in);
  }
  // Rule `delta`: another part of the gradient of W.
  std::vector<T> of_value(f.variant.rule == Rule::delta ? plan.hidden * plan.fan_in : 0);
  T* const gate_weights[] = {p.grad_update_weight, p.grad_write_weight, p.grad_decay_weight,
                             of_value.data()};
  T* const gate_biases[] = {p.grad_update_bias, nullptr, nullptr, nullptr};
  for (int64_t gate = 0; gate < kStpnGates; ++gate) {
    if (!has_gate(f.variant, gate)) continue;
    Extent extent = f.extent;
    extent.inputs = gate_inputs(f.extent, f.variant, gate);
    store_input_weights<T>(sums, kStpnVectors + gate_vectors(f.extent, f.variant, gate), extent,
                           {gate_weights[gate], extent.inputs, gate_biases[gate]});
  }
  if (f.variant.rule == Rule::delta && p.grad_weight != nullptr) {
    for (int64_t k = 0; k < plan.hidden * plan.fan_in; ++k) p.grad_weight[k] += of_value[k];
  }
  const RateGradients<T> rates{f.variant.decay, f.weight_lambda, f.weight_gamma,
                               p.grad_weight_lambda, p.grad_weight_gamma};
  rates.clear(rate_count(f.extent, f.variant));
  for_each_rate(f.extent, f.variant, [&](int64_t i, int64_t j, int64_t index) {
    rates.add(index, sums.row(kLambda, i)[j], sums.row(kGamma, i)[j]);
  });
  if (!f.variant.plastic_bias) return;
  const bool scalar = f.variant.scalar_bias_rates;
  const RateGradients<T> bias_rates{f.variant.decay, f.bias_lambda, f.bias_gamma,
                                    p.grad_bias_lambda, p.grad_bias_gamma};
  bias_rates.clear(scalar ? 1 : plan.hidden);
  for (int64_t i = 0; i < plan.hidden; ++i) {
    bias_rates.add(scalar ? 0 : i, sums.vector(kBiasLambda)[i], sums.vector(kBiasGamma)[i]);
  }
}

}  // namespace

template <typename T>
std::shared_ptr<const PlasticPlan<T>> stpn_cpu_plan(const Extent& extent,
                                                    const StpnVariant& variant, Grouping grouping) {
  return std::make_shared<const PlasticPlan<T>>(stpn_plan<T>(extent, variant, grouping));
}

template <typename T>
void stpn_forward_cpu(const StpnForwardParams<T>& p) {
  if (!has_simd_target()) return stpn_forward_ref(p);
  const PlasticPlan<T> plan = p.plan != nullptr ? *p.plan : stpn_plan<T>(p.extent, p.variant);
  StpnParameters<T> parameters = padded(p, plan);
  if (in_halves(p, plan)) {
    RowHalves<T> halves(plan, p.parallel, kForwardSynapsesInNanosecond);
    parameters.halves = &halves;
    return halves.run([&] { stpn_row_vectorised(p, parameters, plan, 0); });
  }
  if (plan.two_steps && !in_two_steps(p) && p.saved != nullptr) {
    mark_single_steps(p.variant, plan, p.saved);
  }
  for_each_shard(p.parallel, plan.shards, [&](int64_t shard) { run(p, parameters, plan, shard); });
}

template <typename T>
void stpn_backward_cpu(const StpnBackwardParams<T>& p) {
  if (!has_simd_target()) return stpn_backward_ref(p);
  const StpnForwardParams<T>& f = p.forward;
  const PlasticPlan<T> plan = f.plan != nullptr ? *f.plan : stpn_plan<T>(f.extent, f.variant);
  StpnParameters<T> parameters = padded(f, plan);
  const int64_t vectors = kStpnVectors + gate_vectors(f.extent, f.variant, kStpnGates);
  const ShardSums<T> sums(plan, kStpnMatrices, vectors);
  if (in_halves(p, plan)) {
    RowHalves<T> halves(plan, f.parallel, kBackwardSynapsesInNanosecond);
    parameters.halves = &halves;
    const GradientSums<T> zeros = sums.start(0);
    halves.run([&] { stpn_row_vectorised(p, parameters, plan, zeros, 0); });
  } else {
    const bool sets_matrices = takes_two_steps(plan, p);
    for_each_shard(f.parallel, plan.shards, [&](int64_t shard) {
      run(p, parameters, plan, shard,
          sets_matrices ? sums.start_vectors(shard) : sums.start(shard));
    });
  }
  sums.add_up(f.parallel);
  store_gradients(p, plan, sums);
}

template void stpn_forward_cpu(const StpnForwardParams<float>&);
template void stpn_forward_cpu(const StpnForwardParams<double>&);
template void stpn_backward_cpu(const StpnBackwardParams<float>&);
template void stpn_backward_cpu(const StpnBackwardParams<double>&);
template std::shared_ptr<const PlasticPlan<float>> stpn_cpu_plan(const Extent&, const StpnVariant&,
                                                                 Grouping);
template std::shared_ptr<const PlasticPlan<double>> stpn_cpu_plan(const Extent&, const StpnVariant&,
                                                                  Grouping);

}  // namespace stpn::kernels
