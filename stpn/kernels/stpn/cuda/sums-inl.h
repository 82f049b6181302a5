// Gradients of the parameters from their sums over all samples, as one thread does it. The team
// here is the whole grid.
#pragma once

#include "stpn/kernels/cuda/sums-inl.h"
#include "stpn/kernels/stpn/cuda/layout.h"

namespace stpn::kernels::cuda::stpn_unit {

// How many threads sum up the synapses of a rate.
inline int lanes_of_rate(const StpnVariant& v) { return v.rates == Rates::synapse ? 1 : kWarp; }

// The gradients of the parameters from `totals` (Sizes::sums). Those of the rates are sums over the
// synapses that share them; the kernel has Lambda Gamma in place of Gamma where what was just
// learnt decays too.
template <typename T, class ThisTeam>
class GradientsThread {
 public:
  STPN_THREAD GradientsThread(const ThisTeam& its_team, const StpnBackwardParams<T>& call,
                              const Sizes& sizes, const T* totals)
      : team(its_team),
        p(call),
        v(call.forward.variant),
        s(sizes),
        totals_(totals),
        weights_(int64_t{sizes.hidden} * sizes.fan_in),
        vectors_(totals + sizes.vector_sums()) {}

  STPN_THREAD void run() {
    for (int64_t k = team.thread(); k < weights_; k += team.threads()) {
      put(p.grad_weight, k, totals_[k]);
    }
    T* const gates[] = {p.grad_update_weight, p.grad_write_weight, p.grad_decay_weight};
    for (int gate = 0; gate < kGates; ++gate) {
      const int64_t count = int64_t{s.hidden} * s.gate_columns[gate];
      for (int64_t k = team.thread(); k < count; k += team.threads()) {
        put(gates[gate], k, totals_[s.gate_sums(gate) + k]);
      }
    }
    for (int64_t i = team.thread(); i < s.hidden; i += team.threads()) {
      put(p.grad_bias, i, vector(kBiasSum)[i]);
      if (v.update_gate) put(p.grad_update_bias, i, vector(kUpdateBiasSum)[i]);
      if (!v.layer_norm) continue;
      put(p.grad_layer_norm_weight, i, vector(kGainSum)[i]);
      put(p.grad_layer_norm_bias, i, vector(kOffsetSum)[i]);
    }
    const T* lambda = totals_ + weights_;
    const int64_t rates = v.rates == Rates::synapse       ? s.synapses()
                          : v.rates == Rates::presynaptic ? s.plastic
                                                          : 1;
    const StpnForwardParams<T>& f = p.forward;
    put_rates({f.weight_lambda, f.weight_gamma, p.grad_weight_lambda, p.grad_weight_gamma}, rates,
              s.synapses(), lambda, lambda + s.synapses());
    if (!v.plastic_bias) return;
    put_rates({f.bias_lambda, f.bias_gamma, p.grad_bias_lambda, p.grad_bias_gamma},
              v.scalar_bias_rates ? 1 : s.hidden, s.hidden, vector(kBiasLambdaSum),
              vector(kBiasGammaSum));
  }

 private:
  STPN_THREAD const T* vector(int which) const { return vectors_ + int64_t{which} * s.hidden; }

  struct RateGradients {
    const T *lambda, *gamma;
    T *d_lambda, *d_gamma;
  };
  // Of `sums` values each, every rates-th is of the same rate.
  STPN_THREAD void put_rates(const RateGradients& to, int64_t rates, int64_t sums, const T* lambda,
                             const T* gamma) const {
    const bool after = v.decay == Decay::after_update;
    for (int64_t r = team.group(); r < rates; r += team.groups()) {
      T d_lambda = T(0);
      T d_gamma = T(0);
      for (int64_t k = r + team.lane() * rates; k < sums; k += team.lanes() * rates) {
        d_lambda += lambda[k];
        d_gamma += gamma[k];
      }
      team.sum(d_lambda, d_gamma);
      if (team.lane() != 0) continue;
      put(to.d_lambda, r, after ? d_lambda + d_gamma * to.gamma[r] : d_lambda);
      put(to.d_gamma, r, after ? d_gamma * to.lambda[r] : d_gamma);
    }
  }

  const ThisTeam& team;
  const StpnBackwardParams<T>& p;
  const StpnVariant& v;
  const Sizes& s;
  const T* totals_;
  int64_t weights_;
  const T* vectors_;
};

}  // namespace stpn::kernels::cuda::stpn_unit
