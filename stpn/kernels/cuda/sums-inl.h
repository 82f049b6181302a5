// Sums over the samples of a batch, as one thread adds them up. Samples are added in their order:
// the same bits every time. The team here is the whole grid.
#pragma once

#include "stpn/kernels/cuda/team.h"

namespace stpn::kernels::cuda {

// totals[k], for each k < count, is the sum over the samples of sums[sample][k].
template <typename T, class ThisTeam>
STPN_THREAD void add_up(const ThisTeam& team, const T* __restrict__ sums, int64_t count, int batch,
                        T* __restrict__ totals) {
  constexpr int kAhead = 8;  // loads that do not wait for each other
  for (int64_t k = team.thread(); k < count; k += team.threads()) {
    T sum = T(0);
    int sample = 0;
    for (; sample + kAhead <= batch; sample += kAhead) {
      T values[kAhead];
      STPN_UNROLL
      for (int n = 0; n < kAhead; ++n) values[n] = sums[(sample + n) * count + k];
      STPN_UNROLL
      for (int n = 0; n < kAhead; ++n) sum += values[n];
    }
    for (; sample < batch; ++sample) sum += sums[sample * count + k];
    totals[k] = sum;
  }
}

// totals[k] = sum, of where a gradient is wanted.
template <typename T>
STPN_THREAD void put(T* to, int64_t k, T value) {
  if (to != nullptr) to[k] = value;
}

}  // namespace stpn::kernels::cuda
