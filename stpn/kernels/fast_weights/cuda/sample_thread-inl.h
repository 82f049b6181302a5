// What forward and backward of the CUDA kernels of Fast Weights have in common, for one thread: the
// call as one thread of the team of a sample sees it.
#pragma once

#include <cmath>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/cuda/team_thread-inl.h"
#include "stpn/kernels/fast_weights/cuda/layout.h"

namespace stpn::kernels::cuda::fast_weights {

template <typename T, class ThisTeam>
class SampleThread : public TeamThread<ThisTeam> {
 public:
  STPN_THREAD SampleThread(const ThisTeam& its_team, const FastWeightsForwardParams<T>& call,
                           const Sizes& sizes, int sample)
      : TeamThread<ThisTeam>(its_team, sizes.hidden),
        f(call),
        s(sizes),
        b(sample),
        layer_norm(call.variant.layer_norm),
        decay(T(call.variant.decay)),
        rate(T(call.variant.rate)) {}

 protected:
  STPN_THREAD int64_t sample_at(int t) const { return int64_t{t} * s.batch + b; }
  STPN_THREAD bool is_reset(int t) const {
    return f.reset != nullptr && f.reset[sample_at(t)] != 0;
  }
  STPN_THREAD const T* x(int t) const { return f.x + sample_at(t) * s.inputs; }
  STPN_THREAD T* output(int t) const { return f.output + sample_at(t) * s.hidden; }
  // Row k of what is saved at step t (Sizes::saved_bound).
  STPN_THREAD T* saved(int t, int k) const {
    return f.saved + (sample_at(t) * s.saved_activities + k) * s.saved_row;
  }
  // A before step k * interval, k > 0.
  STPN_THREAD T* checkpoint(int k) const {
    return f.saved + int64_t{s.steps} * s.batch * s.saved_per_step() +
           (int64_t{k - 1} * s.batch + b) * s.synapses();
  }
  STPN_THREAD T previous_h(int t, int i) const {
    if (is_reset(t)) return T(0);
    return t > 0 ? output(t - 1)[i] : f.initial_h[int64_t{b} * s.hidden + i];
  }
  STPN_THREAD T z(int t, int j) const {
    return j < s.inputs ? x(t)[j] : previous_h(t, j - s.inputs);
  }
  // Of neuron i, from what the layer norm gave.
  STPN_THREAD T activity_of(T normalised, int i) const {
    return std::tanh(normalised * f.layer_norm_weight[i] + f.layer_norm_bias[i]);
  }
  // A[t] of a synapse from A[t-1], where `growth` is rate * h_i of h[t-1].
  STPN_THREAD T updated(T A, T growth, T h_j) const { return decay * A + growth * h_j; }

  const FastWeightsForwardParams<T>& f;
  const Sizes& s;
  int b;
  bool layer_norm;
  T decay, rate;
};

}  // namespace stpn::kernels::cuda::fast_weights
