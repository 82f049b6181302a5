// A call of a unit, as one thread of the team of a sample sees it: what units have in common.
#pragma once

#include "stpn/kernels/cuda/team_thread-inl.h"

namespace stpn::kernels::cuda {

// Forward: the parameters of the call (stpn/kernels/sequence_params.h). Sizes: the unit's, with T,
// B, I and H as steps, batch, inputs and hidden.
template <typename T, class Forward, class Sizes, class ThisTeam>
class SequenceThread : public TeamThread<ThisTeam> {
 public:
  STPN_THREAD SequenceThread(const ThisTeam& its_team, const Forward& call, const Sizes& sizes,
                             int sample)
      : TeamThread<ThisTeam>(its_team, sizes.hidden), f(call), s(sizes), b(sample) {}

 protected:
  STPN_THREAD int64_t sample_at(int t) const { return int64_t{t} * s.batch + b; }
  STPN_THREAD bool is_reset(int t) const {
    return f.reset != nullptr && f.reset[sample_at(t)] != 0;
  }
  STPN_THREAD const T* x(int t) const { return f.x + sample_at(t) * s.inputs; }
  STPN_THREAD T* output(int t) const { return f.output + sample_at(t) * s.hidden; }
  STPN_THREAD T previous_h(int t, int i) const {
    if (is_reset(t)) return T(0);
    return t > 0 ? output(t - 1)[i] : f.initial_h[int64_t{b} * s.hidden + i];
  }

  const Forward& f;
  const Sizes& s;
  int b;
};

}  // namespace stpn::kernels::cuda
