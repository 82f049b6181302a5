// Recomputes F of all steps of an interval from its checkpoint, as one thread of the team does it.
#pragma once

#include "stpn/kernels/stpn/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::stpn_unit {

// `recomputed` (interval, H, P), of the sample: matrix k is F before step `first step + k`, after a
// reset. `a` (P) and `partial` (groups, P) are the team's.
template <typename T, class ThisTeam>
class RecomputeThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::bound, Base::f, Base::s, Base::team, Base::v;
  using Base::for_columns, Base::for_plastic, Base::for_rows, Base::is_reset, Base::saved;

 public:
  STPN_THREAD RecomputeThread(const Base& thread, T* recomputed, T* a, T* partial)
      : Base(thread), recomputed_(recomputed), a_(a), partial_(partial) {}

  STPN_THREAD void run(int interval) {
    const int begin = interval * s.interval;
    const int end = begin + s.interval < s.steps ? begin + s.interval : s.steps;
    const T* from = interval == 0 ? f.initial_F + b * s.synapses() : this->checkpoint(interval);
    if (v.rule == Rule::oja) {
      with_oja(from, begin, end);
    } else {
      for_rows([&](int i) { row_through_steps(from, i, begin, end); });
    }
  }

  // What the new F is multiplied with.
  STPN_THREAD T post_scale(int t, int i) const {
    return v.norm == Norm::post ? T(1) / plus_epsilon(saved(t, s.at.post_norm)[i]) : T(1);
  }
  STPN_THREAD T updated(T F, const Rate<T>& rate, T scale, T growth, T a) const {
    return clamped(rate.lambda * (F * scale) + rate.gamma * (growth * a), bound);
  }

 private:
  // By Hebb's rule a synapse needs nothing of the others: it stays in a register. A few synapses at
  // a time hide the latency of what is loaded.
  static constexpr int kTile = 4;

  // z_j[t] or what stands for it.
  STPN_THREAD T hebbian_z(int t, int j) const {
    const int input = s.first + j;
    if (input < s.inputs) return this->x(t)[input];
    if (this->current_presynaptic) return this->output(t)[input - s.inputs];
    return this->previous_h(t, input - s.inputs);
  }

  STPN_THREAD void row_through_steps(const T* from, int i, int begin, int end) {
    const RowRates<T> rates(f, s, i);
    from += int64_t{i} * s.plastic;
    T* to = recomputed_ + int64_t{i} * s.plastic;
    for (int first = this->first_plastic_column(); first < s.plastic;
         first += kTile * team.lanes()) {
      Rate<T> rate[kTile];
      T F[kTile];
      STPN_UNROLL
      for (int k = 0; k < kTile; ++k) {
        const int j = first + k * team.lanes();
        const bool inside = j < s.plastic;
        rate[k] = rates[inside ? j : 0];
        F[k] = inside ? from[j] : T(0);
      }
      for (int t = begin; t < end; ++t) {
        const bool last = t + 1 == end;
        const bool reset = is_reset(t);
        const T growth = this->growth(t, i);
        const T scale_in = this->scale(t, i);
        const T scale_out = post_scale(t, i);
        T* F_before = to + (t - begin) * s.synapses();
        T a[kTile];
        STPN_UNROLL
        for (int k = 0; k < kTile; ++k) {
          const int j = first + k * team.lanes();
          a[k] = j < s.plastic && !last ? hebbian_z(t, j) : T(0);
        }
        STPN_UNROLL
        for (int k = 0; k < kTile; ++k) {
          const int j = first + k * team.lanes();
          if (reset) F[k] = T(0);
          if (j < s.plastic) F_before[j] = F[k];
          F[k] = updated(F[k], rate[k], scale_in, growth, a[k]) * scale_out;
        }
      }
    }
  }

  // Oja's rule sums over rows: all of them go through a step before the next.
  STPN_THREAD void with_oja(const T* from, int begin, int end) {
    for (int t = begin; t < end; ++t) {
      T* F_before = recomputed_ + (t - begin) * s.synapses();
      if (t == begin || is_reset(t)) {
        for_rows([&](int i) {
          for_plastic([&](int j) {
            const int64_t k = int64_t{i} * s.plastic + j;
            F_before[k] = is_reset(t) ? T(0) : from[k];
          });
        });
      }
      if (t + 1 == end) return;
      factor_of(t, F_before);
      T* next = F_before + s.synapses();
      for_rows([&](int i) {
        const RowRates<T> rates(f, s, i);
        const T growth = this->growth(t, i);
        const T scale_in = this->scale(t, i);
        const T scale_out = post_scale(t, i);
        for_plastic([&](int j) {
          const int64_t k = int64_t{i} * s.plastic + j;
          next[k] = updated(F_before[k], rates[j], scale_in, growth, a_[j]) * scale_out;
        });
      });
    }
  }

 public:
  // The presynaptic factor of the Hebbian term at step t, into a; `F_before` is F before it. Where
  // it is z the factor is not needed.
  STPN_THREAD void factor_of(int t, const T* F_before) const {
    struct Presynaptic {
      STPN_THREAD T operator[](int input) const {
        return input < of->s.inputs ? of->x(t)[input] : of->previous_h(t, input - of->s.inputs);
      }
      const RecomputeThread* of;
      int t;
    };
    this->hebbian_factor(
        Presynaptic{this, t}, partial_, a_,
        [&](int i) { return F_before + int64_t{i} * s.plastic; },
        [&](int i) { return this->output(t)[i]; }, [&](int i) { return this->scale(t, i); });
  }

 private:
  T *recomputed_, *a_, *partial_;
};

}  // namespace stpn::kernels::cuda::stpn_unit
