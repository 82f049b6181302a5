// Rule `delta` of the STPN (equations.h): what F learns, and its derivative, for one sample at one
// time step: scalar code for the reference. Norm `pre`, all synapses plastic.
#pragma once

#include <cstdint>
#include <vector>

#include "stpn/kernels/activation.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

template <typename T>
struct StpnWritten {
  std::vector<T> value;     // (H)  v, what the slow weights make of the inputs
  std::vector<T> recalled;  // (H)  F z, without the norm
  T squares = T(0);         //      |z|^2 and epsilon
  std::vector<T> growth;    // (H)  (v - F z / n) / squares
};

// `F` (H, N) and z (N) of the start of the step; `dot` (H), G z; `norm` (H), |G| without epsilon.
template <typename T>
StpnWritten<T> stpn_written(const StpnForwardParams<T>& p, const std::vector<T>& F,
                            const std::vector<T>& dot, const std::vector<T>& norm,
                            const std::vector<T>& z) {
  const auto N = static_cast<int64_t>(z.size());
  StpnWritten<T> w;
  w.squares = static_cast<T>(kSquaresEpsilon);
  for (const T value : z) w.squares += value * value;
  for (int64_t i = 0; i < p.extent.hidden; ++i) {
    const T n = norm[i] + static_cast<T>(kNormEpsilon);
    T recalled = T(0);
    for (int64_t j = 0; j < N; ++j) recalled += F[i * N + j] * z[j];
    const T u = (dot[i] - recalled) / n + (p.bias == nullptr ? T(0) : p.bias[i]);
    w.value.push_back(activate(p.variant.activation, u));
    w.recalled.push_back(recalled);
    w.growth.push_back((w.value[i] - recalled / n) / w.squares);
  }
  return w;
}

// From the gradient of `growth`, adds to those of F, z and the norms, and of the parameters.
template <typename T>
void backpropagate_stpn_written(const StpnBackwardParams<T>& p, const StpnWritten<T>& w,
                                const std::vector<T>& F, const std::vector<T>& dot,
                                const std::vector<T>& norm, const std::vector<T>& z,
                                const std::vector<T>& d_growth, std::vector<T>& dF,
                                std::vector<T>& dz, std::vector<T>& dn) {
  const StpnForwardParams<T>& f = p.forward;
  const auto N = static_cast<int64_t>(z.size());
  T d_squares = T(0);
  for (int64_t i = 0; i < f.extent.hidden; ++i) {
    const T n = norm[i] + static_cast<T>(kNormEpsilon);
    const T d_difference = d_growth[i] / w.squares;
    d_squares -= d_growth[i] * w.growth[i] / w.squares;
    const T du = d_difference * activation_slope(f.variant.activation, w.value[i]);
    if (p.grad_bias != nullptr) p.grad_bias[i] += du;
    dn[i] -= (du * (dot[i] - w.recalled[i]) - d_difference * w.recalled[i]) / (n * n);
    for (int64_t j = 0; j < N; ++j) {
      const int64_t k = i * N + j;
      if (p.grad_weight != nullptr) p.grad_weight[k] += du / n * z[j];
      dF[k] -= d_difference / n * z[j];
      dz[j] += (du * f.weight[k] - d_difference * F[k]) / n;
    }
  }
  for (int64_t j = 0; j < N; ++j) dz[j] += T(2) * z[j] * d_squares;
}

}  // namespace stpn::kernels
