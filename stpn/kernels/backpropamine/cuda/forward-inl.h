// Forward through all time steps of a sample, as one thread of its team does it.
#pragma once

#include "stpn/kernels/backpropamine/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::backpropamine {

template <typename T, class ThisTeam>
class ForwardThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::f, Base::rate, Base::s, Base::team, Base::trace, Base::v;
  using Base::first_lane, Base::for_columns, Base::for_rows, Base::is_reset, Base::share;

 public:
  // `memory` is the team's.
  STPN_THREAD ForwardThread(const ThisTeam& its_team, const BackpropamineForwardParams<T>& call,
                            const Division& d, T* memory, int sample)
      : Base(its_team, call, d.sizes, sample),
        resident_(d.forward.resident),
        P_{resident_ ? memory + d.forward_memory.P : final_P(), d.forward.row},
        E_{resident_ ? memory + d.forward_memory.E : final_E(), d.forward.row},
        x_(memory + d.forward_memory.x),
        h_(memory + d.forward_memory.h),
        zero_(memory + d.forward_memory.zero) {}

  // One barrier a step, so some threads write h[t] while others still read h[t-2].
  STPN_THREAD void run() {
    begin();
    for (int t = 0; t < s.steps; ++t) {
      if (f.saved != nullptr && t > 0 && t % s.interval == 0) {
        T* const to = this->checkpoint(t / s.interval);
        store(to, to + s.synapses());
      }
      if (is_reset(t)) forget();
      const T* before = is_reset(t) ? zero_ : h(t - 1);
      for_rows([&](int i) {
        const T h_i = activity(t, i, before);
        if (!first_lane()) return;
        h(t)[i] = h_i;
        this->output(t)[i] = h_i;
      });
      if (t + 1 < s.steps) {
        share(0, s.inputs, [&](int j) { inputs(t + 1)[j] = this->x(t + 1)[j]; });
      }
      team.sync();
      const T m = v.has_modulator() ? modulator(t) : rate;
      for_rows([&](int i) { update_row(h(t)[i], m, before, P_[i], E_[i]); });
    }
    if (resident_) store(final_P(), final_E());
  }

 private:
  STPN_THREAD T* final_P() const { return f.final_P + b * s.synapses(); }
  STPN_THREAD T* final_E() const { return trace ? f.final_E + b * s.synapses() : final_P(); }
  STPN_THREAD T* inputs(int t) const { return x_ + (t & 1) * s.inputs; }
  STPN_THREAD T* h(int t) const { return h_ + (t + 1) % 3 * s.hidden; }

  STPN_THREAD void begin() {
    for_rows([&](int i) {
      const int64_t row = (int64_t{b} * s.hidden + i) * s.hidden;
      for_columns(s.hidden, [&](int j) {
        P_[i][j] = f.initial_P[row + j];
        if (trace) E_[i][j] = f.initial_E[row + j];
      });
    });
    share(0, s.inputs, [&](int j) { inputs(0)[j] = this->x(0)[j]; });
    share(0, s.hidden, [&](int i) {
      h(-1)[i] = f.initial_h[int64_t{b} * s.hidden + i];
      zero_[i] = T(0);
    });
    team.sync();
  }

  STPN_THREAD void store(T* P, T* E) const {
    for_rows([&](int i) {
      const int64_t row = int64_t{i} * s.hidden;
      for_columns(s.hidden, [&](int j) {
        P[row + j] = P_[i][j];
        if (trace) E[row + j] = E_[i][j];
      });
    });
  }

  STPN_THREAD void forget() {
    for_rows([&](int i) {
      for_columns(s.hidden, [&](int j) {
        P_[i][j] = T(0);
        if (trace) E_[i][j] = T(0);
      });
    });
  }

  // h[t] of neuron i, on every lane; and its energy.
  STPN_THREAD T activity(int t, int i, const T* before) const {
    const T* W = f.weight_ih + int64_t{i} * s.inputs;
    const T* w = f.weight_hh + int64_t{i} * s.hidden;
    const T* alpha = f.alpha + int64_t{i} * s.hidden;
    const T* P = P_[i];
    const T* x = inputs(t);
    T u = T(0);
    for_columns(s.inputs, [&](int j) { u += W[j] * x[j]; });
    if (f.energy == nullptr) {
      for_columns(s.hidden, [&](int j) { u += (w[j] + alpha[j] * P[j]) * before[j]; });
      u = team.sum(u);
    } else {
      T energy = T(0);
      for_columns(s.hidden, [&](int j) {
        const T G = w[j] + alpha[j] * P[j];
        u += G * before[j];
        energy += std::abs(G) * before[j] * before[j];
      });
      team.sum(u, energy);
      if (first_lane()) f.energy[this->sample_at(t) * s.hidden + i] = energy;
    }
    return std::tanh(u + f.bias[i]);
  }

  // Every group computes it, from all of h, in the same order: the same bits.
  STPN_THREAD T modulator(int t) const {
    T u = T(0);
    for_columns(s.hidden, [&](int i) { u += f.modulator_weight[i] * h(t)[i]; });
    const T m = activate(v.modulator_activation(), team.sum(u) + f.modulator_bias[0]);
    if (f.saved != nullptr && team.thread() == 0) f.saved[this->sample_at(t)] = m;
    return m;
  }

  // What is written does not overlap. E is read and written only if there is a trace.
  STPN_THREAD void update_row(T h, T m, const T* __restrict__ before, T* __restrict__ P,
                              T* __restrict__ E) const {
    for_columns(s.hidden, [&](int j) {
      T E_j = trace ? E[j] : T(0);
      this->update(P[j], E_j, m, h * before[j]);
      if (trace) E[j] = E_j;
    });
  }

  bool resident_;
  TeamMatrix<T> P_, E_;
  T *x_, *h_, *zero_;
};

}  // namespace stpn::kernels::cuda::backpropamine
