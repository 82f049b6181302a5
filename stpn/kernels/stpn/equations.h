// Short-term plasticity neuron, recurrent: every synapse has a fast weight F that decays and grows
// with use.
//
//   z[t] = [x[t]; h[t-1]]                       presynaptic activity, (N = I + H)
//   G = W + F[t-1];   n = |G| + 1e-16           efficacies and the 2-norm of each row of them
//   u = G z / n + b + beta[t-1];   h[t] = act(u)
//   F[t] = clamp(Lambda * F[t-1] / n + Gamma * (h[t] outer z[t]), +-c)
//
// Variants (StpnVariant): feed-forward (z[t] = x[t], N = I, no h in the state: the unit
// stpn_feedforward); no norm (n = 1); norm `drive` (F enters the update undivided); norm `post`
// (that, and the new F is divided by |W + F| + 1e-16 of its row); fast weights on the inputs or the
// recurrent synapses only (F then has P = I or P = H columns, else P = N; where `norm` is on, n
// stays the norm over all N); Oja's rule; decay of what was just learnt too; layer norm of u; a
// plastic bias; h[t] in place of h[t-1] in the Hebbian term (never in the drive).
//
// Garcia Rodriguez, Guo, Moraitis: Short-Term Plasticity Neurons Learning to Learn and Forget, ICML
// 2022, section 3. Known choices where the paper is silent, after the published code: layer norm
// takes the bias in (eps 1e-5); the plastic bias is clamped like F, takes no part in norms, and its
// drive is h[t] under both rules.
#pragma once

#include <cstdint>
#include <limits>

#include "stpn/base/parallel.h"
#include "stpn/kernels/activation.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/extent.h"

namespace stpn::kernels {

enum class Norm { none, preactivation, pre, post };
enum class Connections { all, input, recurrent };
enum class Rule { hebb, oja };
enum class Decay { before_update, after_update };
enum class Presynaptic { previous, current };
// How many values Lambda and Gamma have: one a synapse (H, P), one a presynaptic source (P), one in
// all (1).
enum class Rates { synapse, presynaptic, scalar };

struct StpnVariant {
  bool recurrent = true;
  Norm norm = Norm::pre;
  double clamp = std::numeric_limits<double>::infinity();  // c; infinity: none
  Connections connections = Connections::all;
  Rule rule = Rule::hebb;
  Decay decay = Decay::before_update;
  Presynaptic presynaptic = Presynaptic::previous;
  Activation activation = Activation::tanh;
  Rates rates = Rates::synapse;
  bool layer_norm = false;
  bool plastic_bias = false;
  bool scalar_bias_rates =
      false;  // Lambda and Gamma of the plastic bias: one in all, else one a unit
};

// N: presynaptic sources of a unit.
inline int64_t fan_in(const Extent& extent) { return extent.inputs + extent.hidden; }
inline int64_t fan_in(const Extent& extent, const StpnVariant& variant) {
  return variant.recurrent ? fan_in(extent) : extent.inputs;
}

// P: how many of them have fast weights, and the first of them.
inline int64_t plastic_fan_in(const Extent& extent, Connections connections) {
  switch (connections) {
    case Connections::input:
      return extent.inputs;
    case Connections::recurrent:
      return extent.hidden;
    case Connections::all:
      break;
  }
  return fan_in(extent);
}
inline int64_t plastic_fan_in(const Extent& extent, const StpnVariant& variant) {
  return variant.recurrent ? plastic_fan_in(extent, variant.connections) : extent.inputs;
}
inline int64_t first_plastic_input(const Extent& extent, const StpnVariant& variant) {
  return variant.recurrent && variant.connections == Connections::recurrent ? extent.inputs : 0;
}

// How many values Lambda (and Gamma) hold.
inline int64_t rate_count(const Extent& extent, const StpnVariant& variant) {
  if (variant.rates == Rates::scalar) return 1;
  const int64_t plastic = plastic_fan_in(extent, variant);
  return variant.rates == Rates::presynaptic ? plastic : extent.hidden * plastic;
}

// What one whole sequence needs. All pointers are borrowed for the call; `in` and `out` must not
// overlap.
template <typename T>
struct StpnForwardParams {
  Extent extent;
  StpnVariant variant;

  const T* x = nullptr;  // in  (T, B, I)
  const uint8_t* reset =
      nullptr;  // in  (T, B); null: none. Not 0: that sample's state is zeroed before step t
  const T* initial_h = nullptr;     // in  (B, H); recurrent only
  const T* initial_F = nullptr;     // in  (B, H, P)
  const T* initial_beta = nullptr;  // in  (B, H); plastic bias only

  const T* weight = nullptr;             // in  (H, N)     W, inputs first
  const T* bias = nullptr;               // in  (H)        b; null: none
  const T* weight_lambda = nullptr;      // in  rate_count Lambda
  const T* weight_gamma = nullptr;       // in  rate_count Gamma
  const T* layer_norm_weight = nullptr;  // in  (H); layer norm only
  const T* layer_norm_bias = nullptr;    // in  (H); layer norm only
  const T* bias_lambda = nullptr;        // in  (H) or (1); plastic bias only
  const T* bias_gamma = nullptr;         // in  (H) or (1); plastic bias only

  T* output = nullptr;      // out (T, B, H)  h[0] .. h[T-1]
  T* final_F = nullptr;     // out (B, H, P)
  T* final_beta = nullptr;  // out (B, H); plastic bias only

  // Energy of each unit at each step, sum over j of measured[j] |G_ij| / n_i z_j^2 (V^2 times
  // conductance), or null.
  T* energy = nullptr;          // out (T, B, H)
  const T* measured = nullptr;  // in  (N), 0 or 1: which sources count; null: all

  // SavedActivations for backward by the CPU kernel, laid out as it likes; null when only predicting. The
  // reference needs none.
  T* saved = nullptr;  // out (stpn_saved_size)

  const base::ParallelFor* parallel = nullptr;  // null: the calling thread
  ClosedLoop* closed_loop = nullptr;            // null: inputs and reset are complete
};

// Gradients of a scalar loss, given those of what forward returned. Those that are null are taken
// as zero (in) or not wanted (out). `forward` is as it was in the forward call: `output` and `kept`
// are read now, and the initial state again.
template <typename T>
struct StpnBackwardParams {
  StpnForwardParams<T> forward;

  const T* grad_output =
      nullptr;  // in  (T, B, H); the gradient of h[T-1] as final state is added to its last step
  const T* grad_final_F = nullptr;     // in  (B, H, P)
  const T* grad_final_beta = nullptr;  // in  (B, H)

  T* grad_x = nullptr;                  // out (T, B, I)
  T* grad_initial_h = nullptr;          // out (B, H); recurrent only
  T* grad_initial_F = nullptr;          // out (B, H, P)
  T* grad_initial_beta = nullptr;       // out (B, H)
  T* grad_weight = nullptr;             // out (H, N)
  T* grad_bias = nullptr;               // out (H)
  T* grad_weight_lambda = nullptr;      // out rate_count
  T* grad_weight_gamma = nullptr;       // out rate_count
  T* grad_layer_norm_weight = nullptr;  // out (H)
  T* grad_layer_norm_bias = nullptr;    // out (H)
  T* grad_bias_lambda = nullptr;        // out (H) or (1)
  T* grad_bias_gamma = nullptr;         // out (H) or (1)
};

// The equations line by line: the oracle. Keeps every F, runs one sample after the other. Every
// variant.
template <typename T>
void stpn_forward_ref(const StpnForwardParams<T>& p);
template <typename T>
void stpn_backward_ref(const StpnBackwardParams<T>& p);

// SIMD with run-time dispatch, a few samples side by side, time loop inside; backward replays F
// from checkpoints. Every variant. Gives the same bits for any number of threads.
template <typename T>
void stpn_forward_cpu(const StpnForwardParams<T>& p);
template <typename T>
void stpn_backward_cpu(const StpnBackwardParams<T>& p);

// Values of T that `kept` must hold.
template <typename T>
int64_t stpn_saved_size(const Extent& extent, const StpnVariant& variant);

}  // namespace stpn::kernels
