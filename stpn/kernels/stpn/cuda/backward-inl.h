// Backward through all time steps of a sample, as one thread of its team does it. Names as in the
// reference (stpn/kernels/stpn/ref.cc): dX is the gradient of the loss with respect to X.
#pragma once

#include "stpn/kernels/stpn/cuda/recompute-inl.h"

namespace stpn::kernels::cuda {

// A matrix of a team: row i begins at values + i * row.
template <typename T>
struct TeamMatrix {
  STPN_THREAD T* operator[](int i) const { return values + int64_t{i} * row; }
  T* values;
  int row;
};

template <typename T, class ThisTeam>
class BackwardThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::bound, Base::f, Base::s, Base::team, Base::v;
  using Base::first_lane, Base::for_columns, Base::for_plastic, Base::for_rows, Base::is_plastic,
      Base::is_reset;
  using Base::saved, Base::share;

 public:
  // `memory` is the team's; `recomputed` (interval, H, P) and `sums` (Sizes::sums) are the
  // sample's.
  STPN_THREAD BackwardThread(const ThisTeam& its_team, const StpnBackwardParams<T>& call,
                             const Sizes& sizes, const Team& shape, const BackwardMemory& at,
                             T* memory, T* recomputed, T* sums, int sample)
      : Base(its_team, call.forward, sizes, sample),
        p(call),
        resident_(shape.resident),
        recomputed_(recomputed),
        sums_(sums),
        dF_{memory + at.dF, shape.row},
        weight_(shape.resident ? TeamMatrix<T>{memory + at.weight, shape.row}
                               : TeamMatrix<T>{sums, s.fan_in}),
        lambda_(shape.resident ? TeamMatrix<T>{memory + at.lambda, shape.row}
                               : TeamMatrix<T>{sums + int64_t{s.hidden} * s.fan_in, s.plastic}),
        gamma_(shape.resident ? TeamMatrix<T>{memory + at.gamma, shape.row}
                              : TeamMatrix<T>{lambda_.values + s.synapses(), s.plastic}),
        z_(memory + at.z),
        a_(memory + at.a),
        da_(memory + at.da),
        dh_(memory + at.dh),
        u_(memory + at.u),
        du_(memory + at.du),
        dn_(memory + at.dn),
        dbeta_(memory + at.dbeta),
        vectors_(memory + at.vectors),
        partial_(memory + at.partial),
        first_column_(call.grad_x != nullptr ? 0 : s.inputs) {}

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
  // What backward reads of a neuron at a step.
  struct Neuron {
    T h, inverse_norm, scale;
  };
  STPN_THREAD Neuron neuron(int t, int i) const {
    Neuron n{this->output(t)[i], T(1), T(1)};
    if (v.norm != Norm::none) n.inverse_norm = T(1) / plus_epsilon(saved(t, kNorm)[i]);
    if (v.norm == Norm::pre) n.scale = n.inverse_norm;
    return n;
  }
  STPN_THREAD T* vector(int which) const { return vectors_ + int64_t{which} * s.hidden; }

  STPN_THREAD void load_z(int t) {
    T* z = z_ + (t & 1) * s.fan_in;
    share(0, s.fan_in,
          [&](int j) { z[j] = j < s.inputs ? this->x(t)[j] : this->previous_h(t, j - s.inputs); });
  }

  STPN_THREAD void begin() {
    const T* of_F = p.grad_final_F;
    for_rows([&](int i) {
      for_columns(s.fan_in, [&](int j) { weight_[i][j] = T(0); });
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
        const Neuron n = neuron(t, i);
        const Sums sums = through_update(t, i, n, a, F_before, /*norm_too=*/true);
        const T dh = gradient_of_h(t, i) + sums.dh;
        const T du = dh * activation_slope(v.activation, n.h);
        through_preactivation(t, i, n, du, sums.dn, F_before, /*columns_begin=*/false);
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

  STPN_THREAD const T* z(int t) const { return z_ + (t & 1) * s.fan_in; }

  STPN_THREAD T gradient_of_h(int t, int i) const {
    const T given =
        p.grad_output == nullptr ? T(0) : p.grad_output[this->sample_at(t) * s.hidden + i];
    return dh_[i] + given;
  }

  STPN_THREAD void forget() {
    for_rows([&](int i) {
      for_plastic([&](int j) { dF_[i][j] = T(0); });
      if (first_lane()) dbeta_[i] = T(0);
    });
  }

  // Sums over a row: what its update adds to the gradients of h[t] and of |G|.
  struct Sums {
    T dh, dn;
  };

  // Through the update of a row: dF becomes the gradient of F before the step; `partial` gets that
  // of `a`. Through the division by the norm too, unless Oja's rule comes in between.
  STPN_THREAD Sums through_update(int t, int i, const Neuron& n, const T* a, const T* F_before,
                                  bool norm_too) {
    const RowRates<T> rates(f, s, i);
    const T* F = F_before + int64_t{i} * s.plastic;
    T inverse_post = T(1);
    T dm_over_norm = T(0);
    if (v.norm == Norm::post) {
      const T norm = saved(t, kPostNorm)[i];
      inverse_post = T(1) / plus_epsilon(norm);
      T product = T(0);
      for_plastic(
          [&](int j) { product += dF_[i][j] * clamped(new_F(F[j], rates[j], n, a[j]), bound); });
      const T dm = -team.sum(product) * inverse_post * inverse_post;
      dm_over_norm = if_positive(norm, dm / norm);
      const T* W = f.weight + int64_t{i} * s.fan_in;
      for_columns(s.fan_in, [&](int j) {
        if (!is_plastic(j)) weight_[i][j] += dm_over_norm * W[j];
      });
    }
    const bool to_norm = norm_too && v.norm == Norm::pre;
    UpdateRow row{i < team.groups(), this->hebbian_term_is_z ? first_column_ - s.first : 0,
                  to_norm ? n.inverse_norm : T(1), inverse_post, dm_over_norm};
    Sums sums = update_row(row, rates, n, F, a, f.weight + int64_t{i} * s.fan_in + s.first, dF_[i],
                           weight_[i] + s.first, lambda_[i], gamma_[i],
                           partial_ + int64_t{team.group()} * s.fan_in + s.first);
    if (v.plastic_bias && first_lane()) sums.dh += through_bias_update(t, i, n.h);
    team.sum(sums.dh, sums.dn);
    if (!to_norm) sums.dn = T(0);
    return sums;
  }

  STPN_THREAD static T new_F(T F, const Rate<T>& rate, const Neuron& n, T a) {
    return rate.lambda * (F * n.scale) + rate.gamma * (n.h * a);
  }

  struct UpdateRow {
    bool fresh;      // the group's first row: nothing is in `partial` yet
    int first;       // the first column of `partial` that is wanted
    T inverse_norm;  // of norm `pre`, if dF goes through it here
    T inverse_post;  // of norm `post`
    T dm_over_norm;  // likewise
  };
  // What is written does not overlap.
  STPN_THREAD Sums update_row(const UpdateRow& row, const RowRates<T>& rates, const Neuron& n,
                              const T* __restrict__ F, const T* __restrict__ a,
                              const T* __restrict__ W, T* __restrict__ dF, T* __restrict__ dW,
                              T* __restrict__ d_lambda, T* __restrict__ d_gamma,
                              T* __restrict__ partial) const {
    const bool post = v.norm == Norm::post;
    Sums sums{T(0), T(0)};
    for_plastic([&](int j) {
      const Rate<T> rate = rates[j];
      const T F_in = F[j] * n.scale;
      const T change = n.h * a[j];
      const T value = rate.lambda * F_in + rate.gamma * change;
      T d_new = dF[j];
      if (post) {
        const T dG = row.dm_over_norm * (W[j] + clamped(value, bound));
        dW[j] += dG;
        d_new = d_new * row.inverse_post + dG;
      }
      d_new = through_clamp(value, bound, d_new);
      d_lambda[j] += d_new * F_in;
      d_gamma[j] += d_new * change;
      const T d_change = d_new * rate.gamma;
      sums.dh += d_change * a[j];
      if (j >= row.first) {
        const T da = d_change * n.h;
        partial[j] = row.fresh ? da : partial[j] + da;
      }
      const T d_in = d_new * rate.lambda;
      sums.dn -= d_in * F_in * row.inverse_norm;
      dF[j] = d_in * row.inverse_norm;
    });
    return sums;
  }

  // Through the update of the plastic bias. Returns what it adds to dh. On the first lane.
  STPN_THREAD T through_bias_update(int t, int i, T h) {
    const int r = v.scalar_bias_rates ? 0 : i;
    const T beta = saved(t, this->saved_beta())[i];
    const T lambda = f.bias_lambda[r];
    const T gamma = f.bias_gamma[r] * (v.decay == Decay::after_update ? lambda : T(1));
    const T d_new = through_clamp(lambda * beta + gamma * h, bound, dbeta_[i]);
    vector(kBiasLambdaSum)[i] += d_new * beta;
    vector(kBiasGammaSum)[i] += d_new * h;
    dbeta_[i] = d_new * lambda;
    return d_new * gamma;
  }

  // Through energy and pre-activation of a row, given du, the gradient of G z / n, and dn so far.
  // `columns_begin`: nothing is in `partial` yet.
  STPN_THREAD void through_preactivation(int t, int i, const Neuron& n, T du, T dn,
                                         const T* F_before, bool columns_begin) {
    if (first_lane()) {
      vector(kBiasSum)[i] += du;
      if (v.plastic_bias) dbeta_[i] += du;
    }
    const T* W = f.weight + int64_t{i} * s.fan_in;
    const T* F = F_before + int64_t{i} * s.plastic;
    T dE = T(0);  // of the sum over j of |G_ij| z_j^2
    if (p.grad_energy != nullptr) {
      dE = p.grad_energy[this->sample_at(t) * s.hidden + i] * n.inverse_norm;
      T energy = T(0);
      for_columns(s.fan_in, [&](int j) {
        const T G = W[j] + (is_plastic(j) ? F[j - s.first] : T(0));
        const T counts = f.measured == nullptr ? T(1) : f.measured[j];
        energy += counts * std::abs(G) * z(t)[j] * z(t)[j];
      });
      energy = team.sum(energy);
      if (v.norm != Norm::none) dn -= dE * energy * n.inverse_norm;
    }
    const T du_over_n = du * n.inverse_norm;
    T dn_over_norm = T(0);
    if (v.norm != Norm::none) {
      const T norm = saved(t, kNorm)[i];
      dn -= du_over_n * saved(t, kDot)[i] * n.inverse_norm;
      dn_over_norm = if_positive(norm, dn / norm);
    }
    const bool fresh = i < team.groups();
    preactivation_row({fresh, fresh && columns_begin, du_over_n, dn_over_norm}, W, F, z(t), dF_[i],
                      weight_[i], partial_ + int64_t{team.group()} * s.fan_in);
    if (p.grad_energy != nullptr) through_energy(t, i, dE, W, F);
  }

  struct PreactivationRow {
    bool fresh;          // the group's first row: `partial` has only what the update put there,
    bool fresh_plastic;  // or nothing
    T du_over_n, dn_over_norm;
  };
  STPN_THREAD void preactivation_row(const PreactivationRow& row, const T* __restrict__ W,
                                     const T* __restrict__ F, const T* __restrict__ z,
                                     T* __restrict__ dF, T* __restrict__ dW,
                                     T* __restrict__ partial) const {
    for_columns(s.fan_in, [&](int j) {
      const bool plastic = is_plastic(j);
      const T G = W[j] + (plastic ? F[j - s.first] : T(0));
      const T dG = row.du_over_n * z[j] + row.dn_over_norm * G;
      dW[j] += dG;
      if (plastic) dF[j - s.first] += dG;
      if (j >= first_column_) {
        const T dz = row.du_over_n * G;
        partial[j] = (plastic ? row.fresh_plastic : row.fresh) ? dz : partial[j] + dz;
      }
    });
  }

  STPN_THREAD void through_energy(int t, int i, T dE, const T* W, const T* F) {
    T* partial = partial_ + int64_t{team.group()} * s.fan_in;
    for_columns(s.fan_in, [&](int j) {
      const T G = W[j] + (is_plastic(j) ? F[j - s.first] : T(0));
      const T counts = f.measured == nullptr ? T(1) : f.measured[j];
      const T z_j = z(t)[j];
      const T dG = dE * counts * sign(G) * z_j * z_j;
      weight_[i][j] += dG;
      if (is_plastic(j)) dF_[i][j - s.first] += dG;
      if (j >= first_column_) partial[j] += dE * counts * std::abs(G) * T(2) * z_j;
    });
  }

  // A step in which rows depend on each other.
  STPN_THREAD void step_in_parts(int t, const T* F_before) {
    const bool oja = v.rule == Rule::oja;
    const bool sum_columns = !this->hebbian_term_is_z;
    const T* a = sum_columns ? a_ : z(t) + s.first;
    for_rows([&](int i) {
      const Neuron n = neuron(t, i);
      const Sums sums = through_update(t, i, n, a, F_before, !oja);
      if (!first_lane()) return;
      u_[i] = preactivation(t, i, n);
      dn_[i] = sums.dn;
      du_[i] = gradient_of_h(t, i) + sums.dh;  // dh, but for what comes from other rows
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
      T dh = du_[i];
      if (this->current_presynaptic) dh += da_[s.inputs + i - s.first];
      du_[i] = dh * activation_slope(v.activation, this->output(t)[i]);
    });
    typename Base::Normalisation of_u{};
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
      T du = team.from_first(first_lane() ? du_[i] : T(0));
      if (v.layer_norm) {
        const T normalised = (u_[i] - of_u.mean) * of_u.inverse_std;
        if (first_lane()) {
          vector(kGainSum)[i] += du * normalised;
          vector(kOffsetSum)[i] += du;
        }
        du = (du * f.layer_norm_weight[i] - mean - normalised * mean_product) * of_u.inverse_std;
      }
      const T dn = team.from_first(first_lane() ? dn_[i] : T(0));
      through_preactivation(t, i, neuron(t, i), du, dn, F_before, sum_columns);
    });
  }

  STPN_THREAD T preactivation(int t, int i, const Neuron& n) const {
    T u = saved(t, kDot)[i] * n.inverse_norm;
    if (f.bias != nullptr) u += f.bias[i];
    if (v.plastic_bias) u += saved(t, this->saved_beta())[i];
    return u;
  }

  // Through what Oja's rule subtracts, and then through norm `pre`.
  STPN_THREAD void through_oja(int i, const Neuron& n, const T* F_before) {
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
    du_[i] += dh;
    dn_[i] += dn;
  }

  STPN_THREAD void finish() {
    if (p.grad_initial_h != nullptr) {
      share(0, s.hidden, [&](int i) { p.grad_initial_h[int64_t{b} * s.hidden + i] = dh_[i]; });
    }
    T* vectors = sums_ + int64_t{s.hidden} * s.fan_in + 2 * s.synapses();
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
  }

  const StpnBackwardParams<T>& p;
  bool resident_;
  T *recomputed_, *sums_;
  TeamMatrix<T> dF_, weight_, lambda_, gamma_;
  T *z_, *a_, *da_, *dh_, *u_, *du_, *dn_, *dbeta_, *vectors_, *partial_;
  int first_column_;  // of `partial`, that is wanted: without grad_x, that of the first neuron
};

}  // namespace stpn::kernels::cuda
