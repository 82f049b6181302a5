// Backward through all time steps of a sample, as one thread of its team does it.
#pragma once

#include "stpn/kernels/stpn/cuda/backward_row-inl.h"
#include "stpn/kernels/stpn/cuda/recompute-inl.h"

namespace stpn::kernels::cuda::stpn_unit {

template <typename T, class ThisTeam>
class BackwardThread : public BackwardRow<T, ThisTeam> {
  using Base = BackwardRow<T, ThisTeam>;
  using Base::b, Base::f, Base::p, Base::s, Base::team, Base::v;
  using Base::dF_, Base::dbeta_, Base::first_column_, Base::gamma_, Base::gate_, Base::lambda_,
      Base::partial_, Base::weight_, Base::z_;
  using Base::first_lane, Base::for_columns, Base::for_plastic, Base::for_rows, Base::is_plastic,
      Base::is_reset;
  using Base::neuron, Base::saved, Base::share, Base::vector, Base::z;

 public:
  // `memory` is the team's; `recomputed` (interval, H, P) and `sums` (Sizes::sums) are the
  // sample's.
  STPN_THREAD BackwardThread(const ThisTeam& its_team, const StpnBackwardParams<T>& call,
                             const Sizes& sizes, const Team& shape, const BackwardMemory& at,
                             T* memory, T* recomputed, T* sums, int sample)
      : Base(its_team, call, sizes, shape, at, memory, sums, sample),
        resident_(shape.resident),
        recomputed_(recomputed),
        sums_(sums),
        a_(memory + at.a),
        da_(memory + at.da),
        dh_(memory + at.dh),
        u_(memory + at.u),
        du_(memory + at.du),
        dh_all_(memory + at.dh_all),
        row_(memory + at.row) {}

  STPN_THREAD void run() {
    begin();
    RecomputeThread<T, ThisTeam> recompute(*this, recomputed_, a_, partial_);
    for (int interval = (s.steps - 1) / s.interval; interval >= 0; --interval) {
      const int first = interval * s.interval;
      const int end = first + s.interval < s.steps ? first + s.interval : s.steps;
      recompute.run(interval);
      for (int t = end - 1; t >= first; --t) {
        const T* F_before = recomputed_ + (t - first) * s.synapses();
        if (!this->hebbian_term_is_z) recompute.factor_of(t, F_before);
        step(t, F_before);
      }
    }
    finish();
  }

 private:
  STPN_THREAD void load_z(int t) {
    T* z = z_ + (t & 1) * s.fan_in;
    share(0, s.fan_in,
          [&](int j) { z[j] = j < s.inputs ? this->x(t)[j] : this->previous_h(t, j - s.inputs); });
  }

  STPN_THREAD void begin() {
    const T* of_F = p.grad_final_F;
    for_rows([&](int i) {
      for_columns(s.fan_in, [&](int j) { weight_[i][j] = T(0); });
      for (int k = 0; k < kGates; ++k) {
        for_columns(s.gate_columns[k], [&](int j) { gate_[k][i][j] = T(0); });
      }
      for_plastic([&](int j) {
        dF_[i][j] = of_F == nullptr ? T(0) : of_F[(int64_t{b} * s.hidden + i) * s.plastic + j];
        lambda_[i][j] = T(0);
        gamma_[i][j] = T(0);
      });
      if (!first_lane()) return;
      const bool given = v.plastic_bias && p.grad_final_beta != nullptr;
      dbeta_[i] = given ? p.grad_final_beta[int64_t{b} * s.hidden + i] : T(0);
      for (int k = 0; k < Sizes::kVectors; ++k) vector(k)[i] = T(0);
    });
    share(0, s.hidden, [&](int i) { dh_[i] = T(0); });
    load_z(s.steps - 1);
    team.sync();
  }

  STPN_THREAD void step(int t, const T* F_before) {
    if (t > 0) load_z(t - 1);
    if (this->rows_are_independent) {
      const T* a = z(t) + s.first;
      for_rows([&](int i) {
        const Neuron<T> n = neuron(t, i);
        RowGradients<T> gradients;
        T dh = this->through_update(t, i, n, a, F_before, /*norm_too=*/true, gradients);
        dh += gradient_of_h(t, i);
        const Activity activity = through_activity(t, i, n, dh);
        this->through_preactivation(t, i, n, activity.du, activity.update, activity.kept, gradients,
                                    F_before, /*columns_begin=*/false);
      });
    } else {
      step_in_parts(t, F_before);
    }
    team.sync();
    const bool reset = is_reset(t);
    share(first_column_, s.fan_in, [&](int j) {
      T dz = this->column_sum(partial_, s.fan_in, j);
      const bool summed_before = !this->hebbian_term_is_z && is_plastic(j) &&
                                 !(this->current_presynaptic && j >= s.inputs);
      if (summed_before) dz += da_[j - s.first];
      if (j < s.inputs) {
        p.grad_x[this->sample_at(t) * s.inputs + j] = dz;
      } else {
        dh_[j - s.inputs] = reset ? T(0) : dz;
      }
    });
    if (reset) forget();
    team.sync();
  }

  STPN_THREAD T gradient_of_h(int t, int i) const {
    const T given =
        p.grad_output == nullptr ? T(0) : p.grad_output[this->sample_at(t) * s.hidden + i];
    return dh_[i] + given;
  }

  // From dh: the gradients of u and of the update gate before its sigmoid, and what the gate passes
  // on to h[t-1].
  struct Activity {
    T du, update, kept;
  };
  STPN_THREAD Activity through_activity(int t, int i, const Neuron<T>& n, T dh) const {
    if (!v.update_gate) return {dh * activation_slope(v.activation, n.h), T(0), T(0)};
    const T keep = saved(t, s.at.gate[kUpdateGate])[i];
    const T candidate = saved(t, s.at.candidate)[i];
    const T change = z(t)[s.inputs + i] - candidate;
    return {dh * (T(1) - keep) * activation_slope(v.activation, candidate),
            dh * change * keep * (T(1) - keep), dh * keep};
  }

  STPN_THREAD void forget() {
    for_rows([&](int i) {
      for_plastic([&](int j) { dF_[i][j] = T(0); });
      if (first_lane()) dbeta_[i] = T(0);
    });
  }

  // A step in which rows depend on each other.
  STPN_THREAD void step_in_parts(int t, const T* F_before) {
    const bool oja = v.rule == Rule::oja;
    const bool sum_columns = !this->hebbian_term_is_z;
    const T* a = sum_columns ? a_ : z(t) + s.first;
    for_rows([&](int i) {
      const Neuron<T> n = neuron(t, i);
      RowGradients<T> gradients;
      const T dh = this->through_update(t, i, n, a, F_before, !oja, gradients);
      if (!first_lane()) return;
      u_[i] = preactivation(t, i, n);
      dh_all_[i] = gradient_of_h(t, i) + dh;  // but for what comes from other rows
      put_row(i, gradients);
    });
    team.sync();
    if (sum_columns) {
      share(0, s.plastic,
            [&](int j) { da_[j] = this->column_sum(partial_ + s.first, s.fan_in, j); });
      team.sync();
    }
    if (oja) for_rows([&](int i) { through_oja(i, neuron(t, i), F_before); });
    for_rows([&](int i) {
      if (!first_lane()) return;
      if (this->current_presynaptic) dh_all_[i] += da_[s.inputs + i - s.first];
      du_[i] = through_activity(t, i, neuron(t, i), dh_all_[i]).du;
    });
    typename Base::template Normalisation<T> of_u{};
    T mean = T(0);
    T mean_product = T(0);
    if (v.layer_norm) {
      team.sync();
      of_u = this->normalisation(u_);
      for_columns(s.hidden, [&](int i) {
        const T gradient = du_[i] * f.layer_norm_weight[i];
        mean += gradient;
        mean_product += gradient * (u_[i] - of_u.mean) * of_u.inverse_std;
      });
      team.sum(mean, mean_product);
      mean /= T(s.hidden);
      mean_product /= T(s.hidden);
    }
    for_rows([&](int i) {
      const Neuron<T> n = neuron(t, i);
      const Activity activity = through_activity(t, i, n, from_first(dh_all_[i]));
      T du = from_first(du_[i]);
      if (v.layer_norm) {
        const T normalised = (u_[i] - of_u.mean) * of_u.inverse_std;
        if (first_lane()) {
          vector(kGainSum)[i] += du * normalised;
          vector(kOffsetSum)[i] += du;
        }
        du = (du * f.layer_norm_weight[i] - mean - normalised * mean_product) * of_u.inverse_std;
      }
      this->through_preactivation(t, i, n, du, activity.update, activity.kept, get_row(i), F_before,
                                  sum_columns);
    });
  }

  // A value that the group's first lane has written, on every lane.
  STPN_THREAD T from_first(const T& value) const {
    return team.from_first(first_lane() ? value : T(0));
  }
  STPN_THREAD void put_row(int i, const RowGradients<T>& of) {
    const T values[] = {of.dn, of.write, of.decay, of.growth};
    for (int k = 0; k < BackwardMemory::kRowVectors; ++k) row_[k * s.hidden + i] = values[k];
  }
  STPN_THREAD RowGradients<T> get_row(int i) const {
    return {from_first(row_[i]), from_first(row_[s.hidden + i]), from_first(row_[2 * s.hidden + i]),
            from_first(row_[3 * s.hidden + i])};
  }

  STPN_THREAD T preactivation(int t, int i, const Neuron<T>& n) const {
    T u = saved(t, s.at.dot)[i] * n.inverse_norm;
    if (f.bias != nullptr) u += f.bias[i];
    if (v.plastic_bias) u += saved(t, s.at.beta)[i];
    return u;
  }

  // Through what Oja's rule subtracts, and then through norm `pre`.
  STPN_THREAD void through_oja(int i, const Neuron<T>& n, const T* F_before) {
    const T* F = F_before + int64_t{i} * s.plastic;
    T* dF = dF_[i];
    T dh = T(0);
    T dn = T(0);
    for_plastic([&](int j) {
      const T F_in = F[j] * n.scale;
      dh -= da_[j] * F_in;
      T d_in = dF[j] - da_[j] * n.h;
      if (v.norm == Norm::pre) {
        dn -= d_in * F_in * n.inverse_norm;
        d_in *= n.inverse_norm;
      }
      dF[j] = d_in;
    });
    team.sum(dh, dn);
    if (!first_lane()) return;
    dh_all_[i] += dh;
    row_[i] += dn;
  }

  STPN_THREAD void finish() {
    if (p.grad_initial_h != nullptr) {
      share(0, s.hidden, [&](int i) { p.grad_initial_h[int64_t{b} * s.hidden + i] = dh_[i]; });
    }
    T* vectors = sums_ + s.vector_sums();
    for_rows([&](int i) {
      if (p.grad_initial_F != nullptr) {
        T* to = p.grad_initial_F + (int64_t{b} * s.hidden + i) * s.plastic;
        for_plastic([&](int j) { to[j] = dF_[i][j]; });
      }
      if (resident_) store_sums(i);
      if (!first_lane()) return;
      for (int k = 0; k < Sizes::kVectors; ++k) {
        vectors[int64_t{k} * s.hidden + i] = vector(k)[i];
      }
      if (p.grad_initial_beta != nullptr) {
        p.grad_initial_beta[int64_t{b} * s.hidden + i] = dbeta_[i];
      }
    });
  }

  STPN_THREAD void store_sums(int i) {
    T* weight = sums_ + int64_t{i} * s.fan_in;
    T* lambda = sums_ + int64_t{s.hidden} * s.fan_in + int64_t{i} * s.plastic;
    for_columns(s.fan_in, [&](int j) { weight[j] = weight_[i][j]; });
    for_plastic([&](int j) {
      lambda[j] = lambda_[i][j];
      lambda[s.synapses() + j] = gamma_[i][j];
    });
    for (int k = 0; k < kGates; ++k) {
      T* gate = sums_ + s.gate_sums(k) + int64_t{i} * s.gate_columns[k];
      for_columns(s.gate_columns[k], [&](int j) { gate[j] = gate_[k][i][j]; });
    }
  }

  bool resident_;
  T *recomputed_, *sums_;
  T *a_, *da_, *dh_, *u_, *du_, *dh_all_, *row_;
};

}  // namespace stpn::kernels::cuda::stpn_unit
