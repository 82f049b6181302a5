// Backward through a time step of one row, that is of a neuron, as the group of threads that has
// the row does it. Names as in the reference (stpn/kernels/stpn/ref.cc): dX is the gradient of the
// loss with respect to X.
#pragma once

#include "stpn/kernels/stpn/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::stpn_unit {

// What backward reads of a neuron at a step.
template <typename T>
struct Neuron {
  T h;
  T inverse_norm;  // 1 without norm
  T scale;         // what F is multiplied with as it enters the update
  T growth;        // the postsynaptic factor of what F learns
};

// Of a row, from its update on to its pre-activation: the gradients of |G|, of the write and the
// decay gate before their sigmoids, and of the growth before the write gate.
template <typename T>
struct RowGradients {
  T dn, write, decay, growth;
};

template <typename T, class ThisTeam>
class BackwardRow : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;

 protected:
  using Base::b, Base::bound, Base::f, Base::s, Base::team, Base::v;
  using Base::first_lane, Base::for_columns, Base::for_plastic, Base::for_rows, Base::is_plastic;
  using Base::saved;

 public:
  // `memory` is the team's; `sums` (Sizes::sums) are the sample's.
  STPN_THREAD BackwardRow(const ThisTeam& its_team, const StpnBackwardParams<T>& call,
                          const Sizes& sizes, const Team& shape, const BackwardMemory& at,
                          T* memory, T* sums, int sample)
      : Base(its_team, call.forward, sizes, sample),
        p(call),
        dF_{memory + at.dF, shape.row},
        weight_(shape.resident ? TeamMatrix<T>{memory + at.weight, shape.row}
                               : TeamMatrix<T>{sums, s.fan_in}),
        lambda_(shape.resident ? TeamMatrix<T>{memory + at.lambda, shape.row}
                               : TeamMatrix<T>{sums + int64_t{s.hidden} * s.fan_in, s.plastic}),
        gamma_(shape.resident ? TeamMatrix<T>{memory + at.gamma, shape.row}
                              : TeamMatrix<T>{lambda_.values + s.synapses(), s.plastic}),
        z_(memory + at.z),
        dbeta_(memory + at.dbeta),
        vectors_(memory + at.vectors),
        partial_(memory + at.partial),
        first_column_(call.grad_x != nullptr ? 0 : s.inputs) {
    for (int k = 0; k < kGates; ++k) {
      gate_[k] = shape.resident ? TeamMatrix<T>{memory + at.gate[k], shape.row}
                                : TeamMatrix<T>{sums + s.gate_sums(k), s.gate_columns[k]};
    }
  }

 protected:
  STPN_THREAD Neuron<T> neuron(int t, int i) const {
    Neuron<T> n{this->output(t)[i], T(1), this->scale(t, i), this->growth(t, i)};
    if (v.norm != Norm::none) n.inverse_norm = T(1) / plus_epsilon(saved(t, s.at.norm)[i]);
    return n;
  }
  STPN_THREAD T* vector(int which) const { return vectors_ + int64_t{which} * s.hidden; }
  STPN_THREAD const T* z(int t) const { return z_ + (t & 1) * s.fan_in; }
  STPN_THREAD T* partial() const { return partial_ + int64_t{team.group()} * s.fan_in; }

  // Through the update of a row: dF becomes the gradient of F before the step; `partial` gets that
  // of `a`; `gradients` all its members. Through the division by the norm too, unless Oja's rule
  // comes in between (`norm_too`). Returns what it adds to the gradient of h[t].
  STPN_THREAD T through_update(int t, int i, const Neuron<T>& n, const T* a, const T* F_before,
                               bool norm_too, RowGradients<T>& gradients) {
    const RowRates<T> rates(f, s, i);
    const T* F = F_before + int64_t{i} * s.plastic;
    T inverse_post = T(1);
    T dm_over_norm = T(0);
    if (v.norm == Norm::post) {
      const T norm = saved(t, s.at.post_norm)[i];
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
    const UpdateRow row{i < team.groups(), this->hebbian_term_is_z ? first_column_ - s.first : 0,
                        to_norm ? n.scale : T(1), inverse_post, dm_over_norm};
    Sums sums = update_row(row, rates, n, F, a, f.weight + int64_t{i} * s.fan_in + s.first, dF_[i],
                           weight_[i] + s.first, lambda_[i], gamma_[i], partial() + s.first);
    team.sum(sums.growth, sums.kept);
    gradients = {to_norm ? -sums.kept * n.inverse_norm : T(0), T(0), T(0), sums.growth};
    if (v.write_gate) {
      const T write = this->write(t, i);
      gradients.write = sums.growth * n.growth * (T(1) - write / T(2));
      gradients.growth *= write;
    }
    if (v.decay_gate) gradients.decay = sums.kept * (T(1) - this->keep(t, i));
    T dh = v.rule == Rule::delta ? T(0) : gradients.growth;
    if (v.plastic_bias) {
      const T of_beta = first_lane() ? through_bias_update(t, i, n.h) : T(0);
      dh += team.from_first(of_beta);
    }
    return dh;
  }

  // Through the pre-activation of a row, its energy, the gates and rule `delta`, given du, the
  // gradient of G z / n; `update`, that of the update gate before its sigmoid; and `kept`, what
  // that gate passes on to h[t-1]. `columns_begin`: nothing is in `partial` yet.
  STPN_THREAD void through_preactivation(int t, int i, const Neuron<T>& n, T du, T update, T kept,
                                         const RowGradients<T>& gradients, const T* F_before,
                                         bool columns_begin) {
    if (first_lane()) {
      vector(kBiasSum)[i] += du;
      if (v.plastic_bias) dbeta_[i] += du;
    }
    const T* W = f.weight + int64_t{i} * s.fan_in;
    const T* F = F_before + int64_t{i} * s.plastic;
    T dn = gradients.dn;
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
    Written written{T(0), T(0), T(0)};
    if (v.rule == Rule::delta) {
      written = through_delta(t, i, n, gradients.growth);
      const T of_W = saved(t, s.at.value)[i];
      const T recalled = saved(t, s.at.dot)[i] - of_W;
      dn -= (written.du * of_W - written.difference * recalled) * n.inverse_norm;
    }
    const T du_over_n = du * n.inverse_norm;
    T dn_over_norm = T(0);
    if (v.norm != Norm::none) {
      const T norm = saved(t, s.at.norm)[i];
      dn -= du_over_n * saved(t, s.at.dot)[i] * n.inverse_norm;
      dn_over_norm = if_positive(norm, dn / norm);
    }
    const bool fresh = i < team.groups();
    preactivation_row({fresh, fresh && columns_begin, du_over_n, dn_over_norm}, W, F, z(t), dF_[i],
                      weight_[i], partial());
    if (p.grad_energy != nullptr) through_energy(t, i, dE, W, F);
    if (v.rule == Rule::delta) delta_row(written, i, z(t), W, F);
    if (v.update_gate) {
      if (first_lane()) vector(kUpdateBiasSum)[i] += update;
      through_gate(kUpdateGate, f.update_weight, i, update, z(t));
      for_columns(s.fan_in, [&](int j) {
        if (j == s.inputs + i) partial()[j] += kept;
      });
    }
    if (v.write_gate) through_gate(kWriteGate, f.write_weight, i, gradients.write, z(t));
    if (v.decay_gate) through_gate(kDecayGate, f.decay_weight, i, gradients.decay, z(t));
  }

 private:
  // Sums over a row: the gradient of the growth, and of what F is multiplied with, times that.
  struct Sums {
    T growth, kept;
  };
  STPN_THREAD static T new_F(T F, const Rate<T>& rate, const Neuron<T>& n, T a) {
    return rate.lambda * (F * n.scale) + rate.gamma * (n.growth * a);
  }

  struct UpdateRow {
    bool fresh;      // the group's first row: nothing is in `partial` yet
    int first;       // the first column of `partial` that is wanted
    T scale;         // what dF is multiplied with, if it goes through the norm here
    T inverse_post;  // of norm `post`
    T dm_over_norm;  // likewise
  };
  // What is written does not overlap.
  STPN_THREAD Sums update_row(const UpdateRow& row, const RowRates<T>& rates, const Neuron<T>& n,
                              const T* __restrict__ F, const T* __restrict__ a,
                              const T* __restrict__ W, T* __restrict__ dF, T* __restrict__ dW,
                              T* __restrict__ d_lambda, T* __restrict__ d_gamma,
                              T* __restrict__ partial) const {
    const bool post = v.norm == Norm::post;
    Sums sums{T(0), T(0)};
    for_plastic([&](int j) {
      const Rate<T> rate = rates[j];
      const T kept = F[j] * n.scale;
      const T change = n.growth * a[j];
      const T value = rate.lambda * kept + rate.gamma * change;
      T d_new = dF[j];
      if (post) {
        const T dG = row.dm_over_norm * (W[j] + clamped(value, bound));
        dW[j] += dG;
        d_new = d_new * row.inverse_post + dG;
      }
      d_new = through_clamp(value, bound, d_new);
      d_lambda[j] += d_new * kept;
      d_gamma[j] += d_new * change;
      const T d_change = d_new * rate.gamma;
      sums.growth += d_change * a[j];
      if (j >= row.first) {
        const T da = d_change * n.growth;
        partial[j] = row.fresh ? da : partial[j] + da;
      }
      const T d_kept = d_new * rate.lambda;
      sums.kept += d_kept * kept;
      dF[j] = d_kept * row.scale;
    });
    return sums;
  }

  // Through the update of the plastic bias. Returns what it adds to dh. On the first lane.
  STPN_THREAD T through_bias_update(int t, int i, T h) {
    const int r = v.scalar_bias_rates ? 0 : i;
    const T beta = saved(t, s.at.beta)[i];
    const T lambda = f.bias_lambda[r];
    const T gamma = f.bias_gamma[r] * (v.decay == Decay::after_update ? lambda : T(1));
    const T d_new = through_clamp(lambda * beta + gamma * h, bound, dbeta_[i]);
    vector(kBiasLambdaSum)[i] += d_new * beta;
    vector(kBiasGammaSum)[i] += d_new * h;
    dbeta_[i] = d_new * lambda;
    return d_new * gamma;
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
    for_columns(s.fan_in, [&](int j) {
      const T G = W[j] + (is_plastic(j) ? F[j - s.first] : T(0));
      const T counts = f.measured == nullptr ? T(1) : f.measured[j];
      const T z_j = z(t)[j];
      const T dG = dE * counts * sign(G) * z_j * z_j;
      weight_[i][j] += dG;
      if (is_plastic(j)) dF_[i][j - s.first] += dG;
      if (j >= first_column_) partial()[j] += dE * counts * std::abs(G) * T(2) * z_j;
    });
  }

  // Rule `delta`, growth = (v - F z / n) / |z|^2: the gradients of the pre-activation of v and of
  // the difference, both already divided by n; and of |z|^2.
  struct Written {
    T du, difference, squares;
  };
  STPN_THREAD Written through_delta(int t, int i, const Neuron<T>& n, T d_growth) {
    T squares = T(0);
    for_columns(s.fan_in, [&](int j) { squares += z(t)[j] * z(t)[j]; });
    squares = team.sum(squares) + T(kSquaresEpsilon);
    const T u = saved(t, s.at.value)[i] * n.inverse_norm + (f.bias == nullptr ? T(0) : f.bias[i]);
    const T difference = d_growth / squares;
    const T du = difference * activation_slope(v.activation, activate(v.activation, u));
    if (first_lane()) vector(kBiasSum)[i] += du;
    return {du * n.inverse_norm, difference * n.inverse_norm,
            -difference * saved(t, s.at.growth)[i]};
  }
  STPN_THREAD void delta_row(const Written& d, int i, const T* z, const T* W, const T* F) {
    for_columns(s.fan_in, [&](int j) {
      weight_[i][j] += d.du * z[j];
      dF_[i][j] -= d.difference * z[j];
      if (j >= first_column_) {
        partial()[j] += d.du * W[j] - d.difference * F[j] + T(2) * z[j] * d.squares;
      }
    });
  }

  // `du`: the gradient before the gate's sigmoid.
  STPN_THREAD void through_gate(Gate gate, const T* weight, int i, T du, const T* z) {
    const int columns = s.gate_columns[gate];
    weight += int64_t{i} * columns;
    for_columns(columns, [&](int j) {
      gate_[gate][i][j] += du * z[j];
      if (j >= first_column_) partial()[j] += du * weight[j];
    });
  }

 protected:
  const StpnBackwardParams<T>& p;
  TeamMatrix<T> dF_, weight_, lambda_, gamma_, gate_[kGates];
  T *z_, *dbeta_, *vectors_, *partial_;
  int first_column_;  // of `partial`, that is wanted: without grad_x, that of the first neuron
};

}  // namespace stpn::kernels::cuda::stpn_unit
