// Backward through all time steps of a sample, as one thread of its team does it.
#pragma once

#include "stpn/kernels/backpropamine/cuda/backward_row-inl.h"
#include "stpn/kernels/backpropamine/cuda/recompute-inl.h"

namespace stpn::kernels::cuda::backpropamine {

template <typename T, class ThisTeam>
class BackwardThread : public BackwardRow<T, ThisTeam> {
  using Base = BackwardRow<T, ThisTeam>;
  using Base::b, Base::f, Base::p, Base::s, Base::team, Base::trace, Base::v;
  using Base::dE_, Base::dP_, Base::first_column_, Base::partial_, Base::rate_sum_;
  using Base::first_lane, Base::for_columns, Base::for_rows, Base::share, Base::z;

 public:
  // `memory` is the team's.
  STPN_THREAD BackwardThread(const ThisTeam& its_team, const BackpropamineBackwardParams<T>& call,
                             const Division& d, const Workspace<T>& workspace, T* memory,
                             int sample)
      : Base(its_team, call, d, workspace, memory, sample),
        resident_(d.backward.resident),
        workspace_(workspace),
        dh_(memory + d.backward_memory.dh),
        dh_update_(memory + d.backward_memory.dh_update),
        dm_(memory + d.backward_memory.dm),
        vectors_(memory + d.backward_memory.vectors),
        modulator_bias_sum_(T(0)) {}

  STPN_THREAD void run() {
    begin();
    T* const recomputed = workspace_.recomputed(b);
    const RecomputeThread<T, ThisTeam> recompute(*this, recomputed);
    for (int interval = (s.steps - 1) / s.interval; interval >= 0; --interval) {
      const int first = interval * s.interval;
      const int end = first + s.interval < s.steps ? first + s.interval : s.steps;
      recompute.run(interval);
      for (int t = end - 1; t >= first; --t) step(t, recomputed + (t - first) * s.state());
    }
    finish();
  }

 private:
  STPN_THREAD void load_z(int t) {
    T* to = z(t);
    share(0, s.fan_in,
          [&](int j) { to[j] = j < s.inputs ? this->x(t)[j] : this->previous_h(t, j - s.inputs); });
  }
  // Sums of gradients: of the sample, and vectors in the team's memory.
  STPN_THREAD T* sum(Sum which) const { return workspace_.sum(which, b); }
  STPN_THREAD T& bias_sum(int i) const { return vectors_[i]; }
  STPN_THREAD T& modulator_weight_sum(int i) const { return vectors_[s.hidden + i]; }

  STPN_THREAD void begin() {
    for_rows([&](int i) {
      const int64_t row = (int64_t{b} * s.hidden + i) * s.hidden;
      for_columns(s.inputs, [&](int j) { this->input_[i][j] = T(0); });
      for_columns(s.hidden, [&](int j) {
        dP_[i][j] = p.grad_final_P == nullptr ? T(0) : p.grad_final_P[row + j];
        if (trace) dE_[i][j] = p.grad_final_E == nullptr ? T(0) : p.grad_final_E[row + j];
        this->weight_[i][j] = T(0);
        this->alpha_[i][j] = T(0);
      });
      if (first_lane()) bias_sum(i) = modulator_weight_sum(i) = T(0);
    });
    share(0, s.hidden, [&](int i) { dh_[i] = T(0); });
    load_z(s.steps - 1);
    team.sync();
  }

  // `P_before`: P, and then E, before the step.
  STPN_THREAD void step(int t, const T* P_before) {
    if (t > 0) load_z(t - 1);
    const T m = this->saved_modulator(t);
    for_rows([&](int i) {
      const typename Base::FromUpdate sums = this->through_update(t, i, m, P_before);
      if (!first_lane()) return;
      dh_update_[i] = sums.dh;
      dm_[i] = sums.dm;
    });
    team.sync();
    const T dv = v.has_modulator() ? through_modulator(m) : T(0);
    for_rows([&](int i) { through_activity(t, i, dv, P_before); });
    team.sync();
    const bool reset = this->is_reset(t);
    share(first_column_, s.fan_in, [&](int j) {
      const T dz = this->column_sum(partial_, s.fan_in, j);
      if (j < s.inputs) {
        p.grad_x[this->sample_at(t) * s.inputs + j] = dz;
      } else {
        dh_[j - s.inputs] = reset ? T(0) : dz;
      }
    });
    if (reset) forget();
    team.sync();
  }

  // The gradient of the modulator's pre-activation. Every group sums over all rows, in the same
  // order: the same bits.
  STPN_THREAD T through_modulator(T m) {
    T dm = T(0);
    for_columns(s.hidden, [&](int i) { dm += dm_[i]; });
    const T dv = team.sum(dm) * activation_slope(v.modulator_activation(), m);
    modulator_bias_sum_ += dv;
    return dv;
  }

  STPN_THREAD void through_activity(int t, int i, T dv, const T* P_before) {
    const T h = this->output(t)[i];
    T dh = dh_[i] + dh_update_[i];
    if (p.grad_output != nullptr) dh += p.grad_output[this->sample_at(t) * s.hidden + i];
    if (v.has_modulator()) {
      dh += dv * f.modulator_weight[i];
      if (first_lane()) modulator_weight_sum(i) += dv * h;
    }
    const T du = dh * activation_slope(Activation::tanh, h);
    if (first_lane()) bias_sum(i) += du;
    this->through_preactivation(t, i, du, P_before);
  }

  STPN_THREAD void forget() {
    for_rows([&](int i) {
      for_columns(s.hidden, [&](int j) {
        dP_[i][j] = T(0);
        if (trace) dE_[i][j] = T(0);
      });
    });
  }

  STPN_THREAD void finish() {
    if (p.grad_initial_h != nullptr) {
      share(0, s.hidden, [&](int i) { p.grad_initial_h[int64_t{b} * s.hidden + i] = dh_[i]; });
    }
    for_rows([&](int i) {
      const int64_t row = (int64_t{b} * s.hidden + i) * s.hidden;
      for_columns(s.hidden, [&](int j) {
        if (p.grad_initial_P != nullptr) p.grad_initial_P[row + j] = dP_[i][j];
        if (p.grad_initial_E != nullptr) p.grad_initial_E[row + j] = dE_[i][j];
      });
      if (resident_) store_sums(i);
      if (!first_lane()) return;
      sum(kBiasSum)[i] = bias_sum(i);
      sum(kModulatorWeightSum)[i] = modulator_weight_sum(i);
    });
    const T of_group = team.sum(rate_sum_);
    if (first_lane()) partial_[team.group()] = of_group;
    team.sync();
    if (team.thread() != 0) return;
    T rate_sum = T(0);
    for (int group = 0; group < team.groups(); ++group) rate_sum += partial_[group];
    sum(kRateSum)[0] = rate_sum;
    sum(kModulatorBiasSum)[0] = modulator_bias_sum_;
  }

  // Those that a streamed team has where they belong.
  STPN_THREAD void store_sums(int i) const {
    T* input = sum(kInputSum) + int64_t{i} * s.inputs;
    T* weight = sum(kWeightSum) + int64_t{i} * s.hidden;
    T* alpha = sum(kAlphaSum) + int64_t{i} * s.hidden;
    for_columns(s.inputs, [&](int j) { input[j] = this->input_[i][j]; });
    for_columns(s.hidden, [&](int j) {
      weight[j] = this->weight_[i][j];
      alpha[j] = this->alpha_[i][j];
    });
  }

  bool resident_;
  const Workspace<T>& workspace_;
  T *dh_, *dh_update_, *dm_, *vectors_;
  T modulator_bias_sum_;
};

}  // namespace stpn::kernels::cuda::backpropamine
