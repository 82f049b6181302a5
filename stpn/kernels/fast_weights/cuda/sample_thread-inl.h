// What forward and backward of the CUDA kernels of Fast Weights have in common, for one thread.
#pragma once

#include <cmath>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/cuda/sequence_thread-inl.h"
#include "stpn/kernels/fast_weights/cuda/layout.h"

namespace stpn::kernels::cuda::fast_weights {

template <typename T, class ThisTeam>
class SampleThread : public SequenceThread<T, FastWeightsForwardParams<T>, Sizes, ThisTeam> {
  using Sequence = SequenceThread<T, FastWeightsForwardParams<T>, Sizes, ThisTeam>;

 protected:
  using Sequence::b, Sequence::f, Sequence::s, Sequence::sample_at;

 public:
  STPN_THREAD SampleThread(const ThisTeam& its_team, const FastWeightsForwardParams<T>& call,
                           const Sizes& sizes, int sample)
      : Sequence(its_team, call, sizes, sample),
        layer_norm(call.variant.layer_norm),
        decay(T(call.variant.decay)),
        rate(T(call.variant.rate)) {}

 protected:
  // Row k of what is saved at step t (Sizes::saved_bound).
  STPN_THREAD T* saved(int t, int k) const {
    return f.saved + (sample_at(t) * s.saved_activities + k) * s.saved_row;
  }
  // A before step k * interval, k > 0.
  STPN_THREAD T* checkpoint(int k) const {
    return f.saved + int64_t{s.steps} * s.batch * s.saved_per_step() +
           (int64_t{k - 1} * s.batch + b) * s.synapses();
  }
  STPN_THREAD T z(int t, int j) const {
    return j < s.inputs ? this->x(t)[j] : this->previous_h(t, j - s.inputs);
  }
  // Of neuron i, from what the layer norm gave.
  STPN_THREAD T activity_of(T normalised, int i) const {
    return std::tanh(normalised * f.layer_norm_weight[i] + f.layer_norm_bias[i]);
  }
  // A[t] of a synapse from A[t-1], where `growth` is rate * h_i of h[t-1].
  STPN_THREAD T updated(T A, T growth, T h_j) const { return decay * A + growth * h_j; }

  bool layer_norm;
  T decay, rate;
};

}  // namespace stpn::kernels::cuda::fast_weights
