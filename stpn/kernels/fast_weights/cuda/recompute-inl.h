// Recomputes A of all steps of an interval from its checkpoint, as one thread of the team does it.
#pragma once

#include "stpn/kernels/fast_weights/cuda/sample_thread-inl.h"

namespace stpn::kernels::cuda::fast_weights {

// `recomputed` (interval, H, H), of the sample: matrix k is A[first step + k].
template <typename T, class ThisTeam>
class RecomputeThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::f, Base::s, Base::team;

 public:
  STPN_THREAD RecomputeThread(const Base& thread, T* recomputed)
      : Base(thread), recomputed_(recomputed) {}

  STPN_THREAD void run(int interval) {
    const int begin = interval * s.interval;
    const int end = begin + s.interval < s.steps ? begin + s.interval : s.steps;
    const T* from = interval == 0 ? f.initial_A + b * s.synapses() : this->checkpoint(interval);
    this->for_rows([&](int i) { row_through_steps(from, i, begin, end); });
  }

 private:
  // A synapse needs the activities only: it stays in a register. A few synapses at a time hide the
  // latency of what is loaded.
  static constexpr int kTile = 4;

  STPN_THREAD void row_through_steps(const T* from, int i, int begin, int end) {
    from += int64_t{i} * s.hidden;
    T* to = recomputed_ + int64_t{i} * s.hidden;
    for (int first = team.lane(); first < s.hidden; first += kTile * team.lanes()) {
      T A[kTile];
      STPN_UNROLL
      for (int k = 0; k < kTile; ++k) {
        const int j = first + k * team.lanes();
        A[k] = j < s.hidden ? from[j] : T(0);
      }
      for (int t = begin; t < end; ++t) {
        const bool reset = this->is_reset(t);
        const T growth = this->rate * this->previous_h(t, i);
        T* of_step = to + (t - begin) * s.synapses();
        T h[kTile];
        STPN_UNROLL
        for (int k = 0; k < kTile; ++k) {
          const int j = first + k * team.lanes();
          h[k] = j < s.hidden ? this->previous_h(t, j) : T(0);
        }
        STPN_UNROLL
        for (int k = 0; k < kTile; ++k) {
          const int j = first + k * team.lanes();
          A[k] = this->updated(reset ? T(0) : A[k], growth, h[k]);
          if (j < s.hidden) of_step[j] = A[k];
        }
      }
    }
  }

  T* recomputed_;
};

}  // namespace stpn::kernels::cuda::fast_weights
