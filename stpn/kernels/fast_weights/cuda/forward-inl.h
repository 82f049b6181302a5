// Forward through all time steps of a sample, as one thread of its team does it.
#pragma once

#include "stpn/kernels/fast_weights/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::fast_weights {

template <typename T, class ThisTeam>
class ForwardThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::f, Base::layer_norm, Base::s, Base::team;
  using Base::first_lane, Base::for_columns, Base::for_rows, Base::is_reset, Base::saved,
      Base::share;

 public:
  // `memory` is the team's.
  STPN_THREAD ForwardThread(const ThisTeam& its_team, const FastWeightsForwardParams<T>& call,
                            const Sizes& sizes, const Team& shape, const ForwardMemory& at,
                            T* memory, int sample)
      : Base(its_team, call, sizes, sample),
        A_{shape.resident ? memory + at.A : call.final_A + sample * sizes.synapses(), shape.row},
        z_(memory + at.z),
        p_(memory + at.p),
        u_(memory + at.u),
        activity_(memory + at.activity) {}

  STPN_THREAD void run() {
    begin();
    for (int t = 0; t < s.steps; ++t) {
      if (f.saved != nullptr && t > 0 && t % s.interval == 0) {
        copy_A(this->checkpoint(t / s.interval));
      }
      if (t + 1 < s.steps) {
        share(0, s.inputs, [&](int j) { z(t + 1)[j] = this->x(t + 1)[j]; });
      }
      for_rows([&](int i) { project(t, i); });
      complete_activity(t, 0);
      for (int k = 1; k <= s.inner_steps; ++k) {
        for_rows([&](int i) { recall(t, k, i); });
        complete_activity(t, k);
      }
    }
    T* last = f.final_A + b * s.synapses();
    if (A_.values != last) copy_A(last);
  }

 private:
  STPN_THREAD T* z(int t) const { return z_ + (t & 1) * s.fan_in; }
  STPN_THREAD T* activity(int k) const { return activity_ + (k & 1) * s.hidden; }

  STPN_THREAD void begin() {
    const T* initial = f.initial_A + b * s.synapses();
    for_rows([&](int i) {
      for_columns(s.hidden, [&](int j) { A_[i][j] = initial[int64_t{i} * s.hidden + j]; });
    });
    share(0, s.fan_in, [&](int j) { z(0)[j] = Base::z(0, j); });
    team.sync();
  }

  STPN_THREAD void copy_A(T* to) const {
    for_rows([&](int i) {
      for_columns(s.hidden, [&](int j) { to[int64_t{i} * s.hidden + j] = A_[i][j]; });
    });
  }

  // p of a row, which is u_0.
  STPN_THREAD void project(int t, int i) {
    const T* W = f.weight + int64_t{i} * s.fan_in;
    const T* of_step = z(t);
    T p = T(0);
    for_columns(s.fan_in, [&](int j) { p += W[j] * of_step[j]; });
    p = team.sum(p) + f.bias[i];
    if (!first_lane()) return;
    p_[i] = p;
    put_u(t, 0, i, p);
  }

  // u_k of a row, from s_(k-1), and its part of the energy; with k = 1 first the row's A[t].
  STPN_THREAD void recall(int t, int k, int i) {
    const T* h = z(t) + s.inputs;
    const T* last = activity(k - 1);
    const T growth = this->rate * h[i];
    RowSums sums = k > 1         ? recall_row<Update::no>(growth, h, last, A_[i])
                   : is_reset(t) ? recall_row<Update::after_reset>(growth, h, last, A_[i])
                                 : recall_row<Update::yes>(growth, h, last, A_[i]);
    team.sum(sums.u, sums.energy);
    if (!first_lane()) return;
    put_u(t, k, i, p_[i] + sums.u);
    if (f.energy == nullptr) return;
    T* energy = f.energy + this->sample_at(t) * s.hidden;
    energy[i] = k == 1 ? sums.energy : energy[i] + sums.energy;
  }

  struct RowSums {
    T u, energy;
  };
  enum class Update { no, yes, after_reset };
  // The row does not overlap what is read.
  template <Update kUpdate>
  STPN_THREAD RowSums recall_row(T growth, const T* __restrict__ h, const T* __restrict__ last,
                                 T* __restrict__ row) const {
    const bool measured = f.energy != nullptr;
    RowSums sums{T(0), T(0)};
    for_columns(s.hidden, [&](int j) {
      T A = kUpdate == Update::after_reset ? T(0) : row[j];
      if (kUpdate != Update::no) row[j] = A = this->updated(A, growth, h[j]);
      sums.u += A * last[j];
      if (measured) sums.energy += std::abs(A) * last[j] * last[j];
    });
    return sums;
  }

  // Without layer norm a neuron does not need the others for its activity.
  STPN_THREAD void put_u(int t, int k, int i, T u) {
    if (layer_norm) {
      u_[i] = u;
    } else {
      put_activity(t, k, i, std::tanh(u));
    }
  }

  // s_k of all neurons, once the u_k of all rows are there.
  STPN_THREAD void complete_activity(int t, int k) {
    team.sync();
    if (!layer_norm) return;
    const auto of_u = this->normalisation(u_);
    share(0, s.hidden, [&](int i) {
      const T normalised = (u_[i] - of_u.mean) * of_u.inverse_std;
      if (f.saved != nullptr) {
        saved(t, k)[i] = normalised;
        if (i == 0) saved(t, k)[s.hidden] = of_u.inverse_std;
      }
      put_activity(t, k, i, this->activity_of(normalised, i));
    });
    team.sync();
  }

  STPN_THREAD void put_activity(int t, int k, int i, T value) {
    if (k < s.inner_steps) {
      activity(k)[i] = value;
      if (f.saved != nullptr && !layer_norm) saved(t, k)[i] = value;
      return;
    }
    this->output(t)[i] = value;
    if (t + 1 < s.steps) z(t + 1)[s.inputs + i] = is_reset(t + 1) ? T(0) : value;
  }

  TeamMatrix<T> A_;
  T *z_, *p_, *u_, *activity_;
};

}  // namespace stpn::kernels::cuda::fast_weights
