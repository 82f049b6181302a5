// What forward and backward of Backpropamine's CUDA kernels have in common, for one thread. Names
// as in the equations: D is the Hebbian term, X what the modulator m multiplies, D or the trace E.
#pragma once

#include <cmath>

#include "stpn/kernels/activation.h"
#include "stpn/kernels/backpropamine/cuda/layout.h"
#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/cuda/sequence_thread-inl.h"

namespace stpn::kernels::cuda::backpropamine {

template <typename T, class ThisTeam>
class SampleThread : public SequenceThread<T, BackpropamineForwardParams<T>, Sizes, ThisTeam> {
  using Sequence = SequenceThread<T, BackpropamineForwardParams<T>, Sizes, ThisTeam>;

 protected:
  using Sequence::b, Sequence::f, Sequence::s;

 public:
  STPN_THREAD SampleThread(const ThisTeam& its_team, const BackpropamineForwardParams<T>& call,
                           const Sizes& sizes, int sample)
      : Sequence(its_team, call, sizes, sample),
        v(call.variant),
        trace(call.variant.has_trace()),
        bound(T(sizes.bound)),
        rate(call.variant.has_rate() ? call.rate[0] : T(0)) {}

 protected:
  // m, or the rate of `plastic`.
  STPN_THREAD T saved_modulator(int t) const {
    return v.has_modulator() ? f.saved[this->sample_at(t)] : rate;
  }
  // P, and then E, before step k * interval, k > 0.
  STPN_THREAD T* checkpoint(int k) const {
    return f.saved + int64_t{s.steps} * s.batch * s.modulators +
           (int64_t{k - 1} * s.batch + b) * s.state();
  }

  // The new P before its clamp.
  STPN_THREAD T unclamped(T P, T m, T X) const {
    const T delta = m * X;
    switch (v.addition) {
      case Addition::soft_clamp:
        return P + at_least(T(0), delta) * (T(1) - P) + at_most(T(0), delta) * (P + T(1));
      case Addition::decaying:
        return (T(1) - m) * P + delta;
      case Addition::clamp:
      case Addition::additive:
        break;
    }
    return P + delta;
  }
  // The new P, and the new E if there is a trace, in place.
  STPN_THREAD void update(T& P, T& E, T m, T D) const {
    P = clamped(unclamped(P, m, trace ? E : D), bound);
    if (trace) E = (T(1) - rate) * E + rate * D;
  }

  const BackpropamineVariant& v;
  bool trace;
  T bound, rate;
};

}  // namespace stpn::kernels::cuda::backpropamine
