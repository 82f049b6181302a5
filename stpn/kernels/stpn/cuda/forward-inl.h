// Forward through all time steps of a sample, as one thread of its team does it.
#pragma once

#include "stpn/kernels/stpn/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::stpn_unit {

template <typename T, class ThisTeam>
class ForwardThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::bound, Base::f, Base::s, Base::team, Base::v;
  using Base::first_lane, Base::for_columns, Base::for_plastic, Base::for_rows, Base::is_plastic,
      Base::is_reset;
  using Base::saved, Base::share;

 public:
  // `memory` is the team's.
  STPN_THREAD ForwardThread(const ThisTeam& its_team, const StpnForwardParams<T>& call,
                            const Sizes& sizes, const Team& shape, const ForwardMemory& at,
                            T* memory, int sample)
      : Base(its_team, call, sizes, sample),
        F_(shape.resident ? memory + at.F : call.final_F + sample * sizes.synapses()),
        row_(shape.resident ? shape.row : sizes.plastic),
        z_(memory + at.z),
        a_(memory + at.a),
        h_(memory + at.h),
        u_(memory + at.u),
        scale_(memory + at.scale),
        update_(memory + at.update),
        growth_(memory + at.growth),
        beta_(memory + at.beta),
        partial_(memory + at.partial) {}

  STPN_THREAD void run() {
    begin();
    for (int t = 0; t < s.steps; ++t) {
      if (f.saved != nullptr && t > 0 && t % s.interval == 0) {
        copy_F(this->checkpoint(t / s.interval));
      }
      if (is_reset(t)) forget();
      const T* z = z_ + (t & 1) * s.fan_in;
      T* next = z_ + (~t & 1) * s.fan_in;
      if (t + 1 < s.steps) {
        share(0, s.inputs, [&](int j) { next[j] = this->x(t + 1)[j]; });
      }
      if (this->rows_are_independent) {
        for_rows([&](int i) {
          const Row row = row_sums(t, i, z);
          const T h = activity(t, i, row.u, row.update, z);
          put_h(t, i, h, next);
          update(t, i, h, growth(row.growth, h), row.scale, z + s.first);
        });
      } else {
        step_in_parts(t, z, next);
      }
      team.sync();
    }
    T* last = f.final_F + b * s.synapses();
    if (F_ != last) copy_F(last);
    if (v.plastic_bias) {
      for_rows([&](int i) {
        if (first_lane()) f.final_beta[int64_t{b} * s.hidden + i] = beta_[i];
      });
    }
  }

 private:
  // Of a neuron at a step: the pre-activation before layer norm; what F is multiplied with as it
  // enters the update; the update gate; and what F learns from z, or by the other rules what
  // multiplies h in it.
  struct Row {
    T u, scale, update, growth;
  };
  STPN_THREAD T growth(T of_row, T h) const { return v.rule == Rule::delta ? of_row : of_row * h; }

  STPN_THREAD T* F(int i) const { return F_ + int64_t{i} * row_; }

  STPN_THREAD void begin() {
    const T* initial = f.initial_F + b * s.synapses();
    for_rows([&](int i) {
      T* row = F(i);
      for_plastic([&](int j) { row[j] = initial[int64_t{i} * s.plastic + j]; });
      if (v.plastic_bias && first_lane()) beta_[i] = f.initial_beta[int64_t{b} * s.hidden + i];
    });
    share(0, s.fan_in,
          [&](int j) { z_[j] = j < s.inputs ? this->x(0)[j] : this->previous_h(0, j - s.inputs); });
    team.sync();
  }

  STPN_THREAD void copy_F(T* to) const {
    for_rows([&](int i) {
      const T* row = F(i);
      for_plastic([&](int j) { to[int64_t{i} * s.plastic + j] = row[j]; });
    });
  }

  STPN_THREAD void forget() {
    for_rows([&](int i) {
      T* row = F(i);
      for_plastic([&](int j) { row[j] = T(0); });
      if (first_lane()) beta_[i] = T(0);
    });
  }

  // What a thread saves for backward, if there is one.
  STPN_THREAD void save(int t, int i, int which, T value) const {
    if (f.saved != nullptr && first_lane()) saved(t, which)[i] = value;
  }

  STPN_THREAD Row row_sums(int t, int i, const T* z) {
    const T* W = f.weight + int64_t{i} * s.fan_in;
    const T* row = F(i);
    T dot = T(0);
    T squares = T(0);
    for_columns(s.fan_in, [&](int j) {
      const T G = W[j] + (is_plastic(j) ? row[j - s.first] : T(0));
      dot += G * z[j];
      squares += G * G;
    });
    team.sum(dot, squares);
    save(t, i, s.at.dot, dot);
    T inverse = T(1);
    if (v.norm != Norm::none) {
      const T norm = std::sqrt(squares);
      inverse = T(1) / plus_epsilon(norm);
      save(t, i, s.at.norm, norm);
    }
    if (f.energy != nullptr) measure(t, i, z, inverse);
    Row of_row{dot * inverse, v.norm == Norm::pre ? inverse : T(1), T(0), T(1)};
    if (v.rule == Rule::delta) of_row.growth = delta(t, i, z, dot, inverse);
    gates(t, i, z, of_row);
    if (f.bias != nullptr) of_row.u += f.bias[i];
    if (v.plastic_bias) {
      T beta = T(0);
      if (first_lane()) beta = beta_[i];
      of_row.u += team.from_first(beta);
      save(t, i, s.at.beta, beta);
    }
    return of_row;
  }

  STPN_THREAD void gates(int t, int i, const T* z, Row& row) {
    if (v.update_gate) {
      T u = T(0);
      const T* U = f.update_weight + int64_t{i} * s.fan_in;
      for_columns(s.fan_in, [&](int j) { u += U[j] * z[j]; });
      row.update = sigmoid(team.sum(u) + (f.update_bias == nullptr ? T(0) : f.update_bias[i]));
      save(t, i, s.at.gate[kUpdateGate], row.update);
    }
    if (v.write_gate) {
      T u = T(0);
      const T* B = f.write_weight + int64_t{i} * s.inputs;
      for_columns(s.inputs, [&](int j) { u += B[j] * z[j]; });
      const T write = T(2) * sigmoid(team.sum(u));
      row.growth *= write;
      save(t, i, s.at.gate[kWriteGate], write);
    }
    if (v.decay_gate) {
      T u = T(0);
      const T* A = f.decay_weight + int64_t{i} * s.inputs;
      for_columns(s.inputs, [&](int j) { u += A[j] * z[j]; });
      const T keep = sigmoid(team.sum(u) + T(kDecayGateOffset));
      row.scale *= keep;
      save(t, i, s.at.gate[kDecayGate], keep);
    }
  }

  // What rule `delta` makes F learn, before the write gate.
  STPN_THREAD T delta(int t, int i, const T* z, T dot, T inverse) {
    const T* W = f.weight + int64_t{i} * s.fan_in;
    T of_W = T(0);
    T squares = T(0);
    for_columns(s.fan_in, [&](int j) {
      of_W += W[j] * z[j];
      squares += z[j] * z[j];
    });
    team.sum(of_W, squares);
    const T u = of_W * inverse + (f.bias == nullptr ? T(0) : f.bias[i]);
    const T growth =
        (activate(v.activation, u) - (dot - of_W) * inverse) / (squares + T(kSquaresEpsilon));
    save(t, i, s.at.value, of_W);
    save(t, i, s.at.growth, growth);
    return growth;
  }

  STPN_THREAD T activity(int t, int i, T u, T update, const T* z) {
    const T candidate = activate(v.activation, u);
    if (!v.update_gate) return candidate;
    save(t, i, s.at.candidate, candidate);
    return update * z[s.inputs + i] + (T(1) - update) * candidate;
  }

  STPN_THREAD void measure(int t, int i, const T* z, T inverse) {
    const T* W = f.weight + int64_t{i} * s.fan_in;
    const T* row = F(i);
    T energy = T(0);
    for_columns(s.fan_in, [&](int j) {
      const T G = W[j] + (is_plastic(j) ? row[j - s.first] : T(0));
      const T counts = f.measured == nullptr ? T(1) : f.measured[j];
      energy += std::abs(G) * z[j] * z[j] * counts;
    });
    energy = team.sum(energy) * inverse;
    if (first_lane()) f.energy[this->sample_at(t) * s.hidden + i] = energy;
  }

  STPN_THREAD void put_h(int t, int i, T h, T* next) {
    if (!first_lane()) return;
    this->output(t)[i] = h;
    if (v.recurrent && t + 1 < s.steps) next[s.inputs + i] = is_reset(t + 1) ? T(0) : h;
  }

  // The new F of a row, and beta. `a` is the presynaptic factor of the Hebbian term.
  STPN_THREAD void update(int t, int i, T h, T growth, T scale, const T* a) {
    const RowRates<T> rates(f, s, i);
    T* row = F(i);
    update_row(rates, a, growth, scale, row);
    if (v.norm == Norm::post) {
      const T* W = f.weight + int64_t{i} * s.fan_in;
      T squares = T(0);
      for_columns(s.fan_in, [&](int j) {
        const T G = W[j] + (is_plastic(j) ? row[j - s.first] : T(0));
        squares += G * G;
      });
      const T norm = std::sqrt(team.sum(squares));
      const T inverse = T(1) / plus_epsilon(norm);
      for_plastic([&](int j) { row[j] *= inverse; });
      save(t, i, s.at.post_norm, norm);
    }
    if (v.plastic_bias && first_lane()) {
      const int r = v.scalar_bias_rates ? 0 : i;
      const T lambda = f.bias_lambda[r];
      const T gamma = f.bias_gamma[r] * (v.decay == Decay::after_update ? lambda : T(1));
      beta_[i] = clamped(lambda * beta_[i] + gamma * h, bound);
    }
  }

  // The row does not overlap what is read.
  STPN_THREAD void update_row(const RowRates<T>& rates, const T* __restrict__ a, T growth, T scale,
                              T* __restrict__ row) const {
    for_plastic([&](int j) {
      const Rate<T> rate = rates[j];
      row[j] = clamped(rate.lambda * (row[j] * scale) + rate.gamma * (growth * a[j]), bound);
    });
  }

  // A step in which rows depend on each other.
  STPN_THREAD void step_in_parts(int t, const T* z, T* next) {
    for_rows([&](int i) {
      const Row row = row_sums(t, i, z);
      if (first_lane()) {
        u_[i] = row.u;
        scale_[i] = row.scale;
        update_[i] = row.update;
        growth_[i] = row.growth;
      }
    });
    team.sync();
    typename Base::template Normalisation<T> of_u{};
    if (v.layer_norm) of_u = this->normalisation(u_);
    for_rows([&](int i) {
      T u = u_[i];
      if (v.layer_norm) {
        u = (u - of_u.mean) * of_u.inverse_std * f.layer_norm_weight[i] + f.layer_norm_bias[i];
      }
      const T h = activity(t, i, u, update_[i], z);
      put_h(t, i, h, next);
      if (first_lane()) h_[i] = h;
    });
    team.sync();
    const T* a = z + s.first;
    if (!this->hebbian_term_is_z) {
      this->hebbian_factor(
          z, partial_, a_, [&](int i) { return F(i); }, [&](int i) { return h_[i]; },
          [&](int i) { return scale_[i]; });
      a = a_;
    }
    for_rows([&](int i) { update(t, i, h_[i], growth(growth_[i], h_[i]), scale_[i], a); });
  }

  T* F_;
  int row_;
  T *z_, *a_, *h_, *u_, *scale_, *update_, *growth_, *beta_, *partial_;
};

}  // namespace stpn::kernels::cuda::stpn_unit
