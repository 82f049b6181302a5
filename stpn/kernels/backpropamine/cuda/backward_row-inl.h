// Backward through a time step of one row, that is of a neuron, as the group of threads that has
// the row does it. Names as in the reference (stpn/kernels/backpropamine/ref.cc): dX is the
// gradient of the loss with respect to X.
#pragma once

#include "stpn/kernels/backpropamine/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::backpropamine {

template <typename T, class ThisTeam>
class BackwardRow : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;

 protected:
  using Base::b, Base::bound, Base::f, Base::rate, Base::s, Base::team, Base::trace, Base::v;
  using Base::for_columns;

 public:
  // `memory` is the team's.
  STPN_THREAD BackwardRow(const ThisTeam& its_team, const BackpropamineBackwardParams<T>& call,
                          const Division& d, const Workspace<T>& workspace, T* memory, int sample)
      : Base(its_team, call.forward, d.sizes, sample),
        p(call),
        dP_{memory + d.backward_memory.dP, d.backward.row},
        dE_{memory + d.backward_memory.dE, d.backward.row},
        z_(memory + d.backward_memory.z),
        partial_(memory + d.backward_memory.partial),
        rate_sum_(T(0)),
        first_column_(call.grad_x != nullptr ? 0 : s.inputs) {
    const BackwardMemory& at = d.backward_memory;
    const bool resident = d.backward.resident;
    input_ = {resident ? memory + at.input : workspace.sum(kInputSum, sample), at.input_row};
    weight_ = {resident ? memory + at.weight : workspace.sum(kWeightSum, sample), d.backward.row};
    alpha_ = {resident ? memory + at.alpha : workspace.sum(kAlphaSum, sample), d.backward.row};
  }

 protected:
  // x[t] and h[t-1].
  STPN_THREAD T* z(int t) const { return z_ + (t & 1) * s.fan_in; }
  STPN_THREAD T* partial() const { return partial_ + int64_t{team.group()} * s.fan_in; }
  // The group's first row: nothing is in `partial` yet.
  STPN_THREAD bool is_fresh(int i) const { return i < team.groups(); }

  // What the update of a row adds to the gradients of h[t] and of m.
  struct FromUpdate {
    T dh, dm;
  };
  // Through the update: dP and dE become those of P and E before the step, `partial` gets that of
  // h[t-1].
  STPN_THREAD FromUpdate through_update(int t, int i, T m, const T* P_before) {
    const T* P = P_before + int64_t{i} * s.hidden;
    FromUpdate sums = update_row(is_fresh(i), m, this->output(t)[i], z(t) + s.inputs, P,
                                 P + s.synapses(), dP_[i], dE_[i], partial() + s.inputs);
    if (!v.has_modulator()) rate_sum_ += sums.dm;
    team.sum(sums.dh, sums.dm);
    return sums;
  }

  // Through the pre-activation and the energy, given du: adds to dP, to the gradient sums and to
  // `partial`.
  STPN_THREAD void through_preactivation(int t, int i, T du, const T* P_before) const {
    const int64_t row = int64_t{i} * s.hidden;
    inputs_row(is_fresh(i), du, f.weight_ih + int64_t{i} * s.inputs, z(t), input_[i], partial());
    recurrent_row(du, f.weight_hh + row, f.alpha + row, z(t) + s.inputs, P_before + row, dP_[i],
                  weight_[i], alpha_[i], partial() + s.inputs);
    if (p.grad_energy != nullptr) {
      energy_row(p.grad_energy[this->sample_at(t) * s.hidden + i], f.weight_hh + row, f.alpha + row,
                 z(t) + s.inputs, P_before + row, dP_[i], weight_[i], alpha_[i],
                 partial() + s.inputs);
    }
  }

 private:
  // In the functions below, what is written does not overlap what is read; `h_before` is h[t-1], P
  // and E are those before the step.

  // E and dE are read and written only if there is a trace.
  STPN_THREAD FromUpdate update_row(bool fresh, T m, T h, const T* __restrict__ h_before,
                                    const T* __restrict__ P, const T* __restrict__ E,
                                    T* __restrict__ dP, T* __restrict__ dE,
                                    T* __restrict__ partial) {
    FromUpdate sums{T(0), T(0)};
    for_columns(s.hidden, [&](int j) {
      const T D = h * h_before[j];
      const T X = trace ? E[j] : D;
      // Of the new P before its clamp.
      const T dP_new = through_clamp(this->unclamped(P[j], m, X), bound, dP[j]);
      T d_delta = dP_new;
      T kept = T(1);
      if (v.addition == Addition::soft_clamp) {
        const T delta = m * X;
        d_delta *= if_not_negative(delta, T(1) - P[j]) + if_not_negative(-delta, P[j] + T(1));
        kept = T(1) - std::abs(delta);
      } else if (v.addition == Addition::decaying) {
        sums.dm -= dP_new * P[j];
        kept = T(1) - m;
      }
      dP[j] = dP_new * kept;
      sums.dm += d_delta * X;
      const T dX = d_delta * m;
      T dD = dX;
      if (trace) {
        const T dE_new = dE[j];
        rate_sum_ += dE_new * (D - E[j]);
        dE[j] = dX + dE_new * (T(1) - rate);
        dD = dE_new * rate;
      }
      sums.dh += dD * h_before[j];
      const T to_before = dD * h;
      partial[j] = fresh ? to_before : partial[j] + to_before;
    });
    return sums;
  }

  STPN_THREAD void inputs_row(bool fresh, T du, const T* __restrict__ W, const T* __restrict__ x,
                              T* __restrict__ dW, T* __restrict__ partial) const {
    for_columns(s.inputs, [&](int j) {
      dW[j] += du * x[j];
      if (first_column_ > 0) return;
      const T dx = du * W[j];
      partial[j] = fresh ? dx : partial[j] + dx;
    });
  }

  STPN_THREAD void recurrent_row(T du, const T* __restrict__ w, const T* __restrict__ alpha,
                                 const T* __restrict__ h_before, const T* __restrict__ P,
                                 T* __restrict__ dP, T* __restrict__ d_weight,
                                 T* __restrict__ d_alpha, T* __restrict__ partial) const {
    for_columns(s.hidden, [&](int j) {
      const T dG = du * h_before[j];
      d_weight[j] += dG;
      d_alpha[j] += dG * P[j];
      dP[j] += dG * alpha[j];
      partial[j] += du * (w[j] + alpha[j] * P[j]);
    });
  }

  STPN_THREAD void energy_row(T d_energy, const T* __restrict__ w, const T* __restrict__ alpha,
                              const T* __restrict__ h_before, const T* __restrict__ P,
                              T* __restrict__ dP, T* __restrict__ d_weight, T* __restrict__ d_alpha,
                              T* __restrict__ partial) const {
    for_columns(s.hidden, [&](int j) {
      const T G = w[j] + alpha[j] * P[j];
      const T dG = d_energy * sign(G) * h_before[j] * h_before[j];
      d_weight[j] += dG;
      d_alpha[j] += dG * P[j];
      dP[j] += dG * alpha[j];
      partial[j] += d_energy * std::abs(G) * T(2) * h_before[j];
    });
  }

 protected:
  const BackpropamineBackwardParams<T>& p;
  TeamMatrix<T> dP_, dE_;
  TeamMatrix<T> input_, weight_, alpha_;  // gradient sums
  T *z_, *partial_;
  T rate_sum_;        // the thread's part of the gradient of the rate
  int first_column_;  // of `partial`, that is wanted: without grad_x, that of the first neuron
};

}  // namespace stpn::kernels::cuda::backpropamine
