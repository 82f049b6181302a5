// Recomputes P and E of all steps of an interval from its checkpoint, as one thread of the team
// does it: a synapse needs nothing of the others.
#pragma once

#include "stpn/kernels/backpropamine/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::backpropamine {

// `recomputed` (interval, states, H, H), of the sample: P, and E, before step `first step + k`,
// after a reset.
template <typename T, class ThisTeam>
class RecomputeThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::f, Base::s, Base::team, Base::trace;

 public:
  STPN_THREAD RecomputeThread(const Base& thread, T* recomputed)
      : Base(thread), recomputed_(recomputed) {}

  STPN_THREAD void run(int interval) const {
    const int begin = interval * s.interval;
    const int end = begin + s.interval < s.steps ? begin + s.interval : s.steps;
    const T* P = interval == 0 ? f.initial_P + b * s.synapses() : this->checkpoint(interval);
    const T* E = nullptr;
    if (trace) E = interval == 0 ? f.initial_E + b * s.synapses() : P + s.synapses();
    this->for_rows([&](int i) { row_through_steps(P, E, i, begin, end); });
  }

 private:
  // A few synapses at a time, in registers, hide the latency of what is loaded.
  static constexpr int kTile = 4;

  STPN_THREAD void row_through_steps(const T* from_P, const T* from_E, int i, int begin,
                                     int end) const {
    const int64_t row = int64_t{i} * s.hidden;
    for (int first = team.lane(); first < s.hidden; first += kTile * team.lanes()) {
      T P[kTile];
      T E[kTile];
      STPN_UNROLL
      for (int k = 0; k < kTile; ++k) {
        const int j = first + k * team.lanes();
        P[k] = j < s.hidden ? from_P[row + j] : T(0);
        E[k] = trace && j < s.hidden ? from_E[row + j] : T(0);
      }
      for (int t = begin; t < end; ++t) {
        const bool last = t + 1 == end;
        const bool reset = this->is_reset(t);
        const T m = this->saved_modulator(t);
        const T h = this->output(t)[i];
        T* to = recomputed_ + (t - begin) * s.state() + row;
        T before[kTile];
        STPN_UNROLL
        for (int k = 0; k < kTile; ++k) {
          const int j = first + k * team.lanes();
          before[k] = j < s.hidden && !last ? this->previous_h(t, j) : T(0);
        }
        STPN_UNROLL
        for (int k = 0; k < kTile; ++k) {
          const int j = first + k * team.lanes();
          if (reset) P[k] = E[k] = T(0);
          if (j < s.hidden) {
            to[j] = P[k];
            if (trace) to[s.synapses() + j] = E[k];
          }
          this->update(P[k], E[k], m, h * before[k]);
        }
      }
    }
  }

  T* recomputed_;
};

}  // namespace stpn::kernels::cuda::backpropamine
