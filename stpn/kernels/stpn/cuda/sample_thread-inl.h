// What forward and backward of the STPN's CUDA kernels have in common, for one thread.
#pragma once

#include <cmath>

#include "stpn/kernels/activation.h"
#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/cuda/sequence_thread-inl.h"
#include "stpn/kernels/stpn/cuda/layout.h"

namespace stpn::kernels::cuda::stpn_unit {

template <typename T>
STPN_THREAD T plus_epsilon(T norm) {
  return norm + T(kNormEpsilon);
}

template <typename T>
STPN_THREAD T sigmoid(T u) {
  return activate(Activation::sigmoid, u);
}

// Lambda, and what the Hebbian term is multiplied with: Gamma, or Lambda Gamma where what was just
// learnt decays too.
template <typename T>
struct Rate {
  T lambda, gamma;
};

// The rates of the synapses of neuron i; of the plastic ones, j counts from the first.
template <typename T>
struct RowRates {
  STPN_THREAD RowRates(const StpnForwardParams<T>& p, const Sizes& s, int i)
      : lambda(p.weight_lambda), gamma(p.weight_gamma) {
    if (p.variant.rates == Rates::synapse) {
      lambda += int64_t{i} * s.plastic;
      gamma += int64_t{i} * s.plastic;
    }
    stride = p.variant.rates == Rates::scalar ? 0 : 1;
    after = p.variant.decay == Decay::after_update;
  }
  STPN_THREAD Rate<T> operator[](int j) const {
    const T decay = lambda[j * stride];
    const T growth = gamma[j * stride];
    return {decay, after ? decay * growth : growth};
  }

  const T* lambda;
  const T* gamma;
  int stride;
  bool after;
};

template <typename T, class ThisTeam>
class SampleThread : public SequenceThread<T, StpnForwardParams<T>, Sizes, ThisTeam> {
  using Sequence = SequenceThread<T, StpnForwardParams<T>, Sizes, ThisTeam>;

 protected:
  using Sequence::b, Sequence::f, Sequence::s;
  using Sequence::first_lane, Sequence::for_columns, Sequence::for_rows, Sequence::output,
      Sequence::sample_at, Sequence::share, Sequence::team;

 public:
  STPN_THREAD SampleThread(const ThisTeam& its_team, const StpnForwardParams<T>& call,
                           const Sizes& sizes, int sample)
      : Sequence(its_team, call, sizes, sample), v(call.variant), bound(T(call.variant.clamp)) {
    const bool current =
        v.recurrent && v.presynaptic == Presynaptic::current && v.connections != Connections::input;
    hebbian_term_is_z = v.rule != Rule::oja && !current;
    current_presynaptic = current;
    rows_are_independent = hebbian_term_is_z && !v.layer_norm;
  }

  STPN_THREAD bool is_plastic(int j) const { return j >= s.first && j < s.first + s.plastic; }
  STPN_THREAD T* saved(int t, int which) const {
    return f.saved + (sample_at(t) * s.at.count + which) * s.hidden;
  }
  // F before step k * interval, k > 0.
  STPN_THREAD T* checkpoint(int k) const {
    return f.saved + int64_t{s.steps} * s.batch * s.at.count * s.hidden +
           (int64_t{k - 1} * s.batch + b) * s.synapses();
  }

  // use(j): for each of the thread's plastic columns. A synapse has the same thread whether it is
  // counted among all presynaptic inputs or among those with fast weights.
  STPN_THREAD int first_plastic_column() const {
    return (team.lane() - s.first) & (team.lanes() - 1);
  }
  template <typename Use>
  STPN_THREAD void for_plastic(const Use& use) const {
    STPN_UNROLL_4
    for (int j = first_plastic_column(); j < s.plastic; j += team.lanes()) use(j);
  }
  // Of saved values: the decay gate, or 1; the write gate, or 1; what F is multiplied with as it
  // enters the update; the postsynaptic factor of what F learns.
  STPN_THREAD T keep(int t, int i) const {
    return v.decay_gate ? saved(t, s.at.gate[kDecayGate])[i] : T(1);
  }
  STPN_THREAD T write(int t, int i) const {
    return v.write_gate ? saved(t, s.at.gate[kWriteGate])[i] : T(1);
  }
  STPN_THREAD T scale(int t, int i) const {
    return v.norm == Norm::pre ? keep(t, i) / plus_epsilon(saved(t, s.at.norm)[i]) : T(1);
  }
  STPN_THREAD T growth(int t, int i) const {
    return write(t, i) * (v.rule == Rule::delta ? saved(t, s.at.growth)[i] : output(t)[i]);
  }

  // The presynaptic factor of the Hebbian term where it is not z, into a (P): z, or h[t] in place
  // of h[t-1], less what Oja's rule subtracts. z[j] is z; row(i) is F before the step, h(i) and
  // scale(i) are of neuron i. Two barriers at most.
  template <typename Z, typename Row, typename H, typename Scale>
  STPN_THREAD void hebbian_factor(const Z& z, T* partial, T* a, const Row& row, const H& h,
                                  const Scale& scale) const {
    const bool oja = v.rule == Rule::oja;
    if (oja) {
      T* mine = partial + int64_t{team.group()} * s.plastic;
      bool fresh = true;
      for_rows([&](int i) {
        const T* F = row(i);
        const T factor = h(i) * scale(i);
        for_plastic([&](int j) { mine[j] = (fresh ? T(0) : mine[j]) + factor * F[j]; });
        fresh = false;
      });
      team.sync();
    }
    share(0, s.plastic, [&](int j) {
      const int input = s.first + j;
      const T from = current_presynaptic && input >= s.inputs ? h(input - s.inputs) : z[input];
      a[j] = oja ? from - this->column_sum(partial, s.plastic, j) : from;
    });
    team.sync();
  }

 protected:
  const StpnVariant& v;
  T bound;
  bool hebbian_term_is_z;    // else a (P) has what stands for z in the Hebbian term
  bool current_presynaptic;  // h[t] in it
  bool rows_are_independent;
};

}  // namespace stpn::kernels::cuda::stpn_unit
