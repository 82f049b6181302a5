// What the STPN's reference has in memory: the sizes of a call, the state, and a time step.
#pragma once

#include <cstdint>
#include <vector>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/gates/ref_gates.h"
#include "stpn/kernels/stpn/rules/ref_delta.h"

namespace stpn::kernels::stpn_ref {

// The sizes of a call, and where its rates lie.
template <typename T>
struct Shape {
  explicit Shape(const StpnForwardParams<T>& p)
      : extent(p.extent),
        variant(p.variant),
        H(p.extent.hidden),
        I(p.extent.inputs),
        N(fan_in(p.extent, p.variant)),
        P(plastic_fan_in(p.extent, p.variant)),
        first(first_plastic_input(p.extent, p.variant)) {}

  // Index of Lambda_ij and Gamma_ij.
  int64_t rate(int64_t i, int64_t j) const {
    if (variant.rates == Rates::scalar) return 0;
    return variant.rates == Rates::presynaptic ? j : i * P + j;
  }
  int64_t bias_rate(int64_t i) const { return variant.scalar_bias_rates ? 0 : i; }
  T bound() const { return static_cast<T>(variant.clamp); }
  T clamped(T value) const { return kernels::clamped(value, bound()); }
  // The gradient of `value`, given that of the clamped value.
  T through_clamp(T value, T gradient) const {
    return kernels::through_clamp(value, bound(), gradient);
  }

  Extent extent;
  StpnVariant variant;
  int64_t H, I, N, P;  // as in equations.h
  int64_t first;       // the first presynaptic input that has fast weights
};

// Everything that one time step of one sample computes and that backward needs.
template <typename T>
struct StepRecord {
  std::vector<T> z;           // (N)    [x[t]; h[t-1]]
  std::vector<T> hebbian_z;   // (P)    presynaptic factor of the Hebbian term
  std::vector<T> F, beta;     // (H, P), (H)  F[t-1] and beta[t-1], zero after a reset
  std::vector<T> G, norm;     // (H, N), (H)  |G|, without epsilon
  std::vector<T> dot;         // (H)    G z
  std::vector<T> normalised;  // (H)    output of the layer norm, before gain and offset
  T inverse_std = T(0);       //        1 / the standard deviation that the layer norm divides by
  StpnGateValues<T> gates;
  std::vector<T> candidate;       // (H)    act(u), of which the update gate makes h
  std::vector<T> h;               // (H)
  StpnWritten<T> written;         //        rule `delta`
  std::vector<T> growth;          // (H)    postsynaptic factor of what F learns
  std::vector<T> F_in;            // (H, P) F as it enters the update: F / n for norm `pre`, else F
  std::vector<T> oja_term;        // (P)    what Oja's rule subtracts from hebbian_z
  std::vector<T> unclamped;       // (H, P) new F before clamp and norm `post`
  std::vector<T> post_norm;       // (H)    |W + F| for norm `post`, without epsilon
  std::vector<T> unclamped_beta;  // (H)    new beta before its clamp

  // Neuron i's write and decay gate.
  T write(int64_t i) const { return gates.write.empty() ? T(1) : gates.write[i]; }
  T keep(int64_t i) const { return gates.decay.empty() ? T(1) : gates.decay[i]; }
};

// The state of one sample, or the gradient of the loss with respect to it.
template <typename T>
struct State {
  std::vector<T> h, F, beta;
};

template <typename T>
T plus_epsilon(T norm) {
  return norm + static_cast<T>(kNormEpsilon);
}

}  // namespace stpn::kernels::stpn_ref
