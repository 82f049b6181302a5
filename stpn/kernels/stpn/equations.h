// Short-term plasticity neuron: every synapse has a fast weight F that decays and grows with use.
//
//   z[t] = [x[t]; h[t-1]]                       presynaptic inputs, N = I + H of them
//   G = W + F[t-1];   n = |G| + 1e-16           efficacies, and the 2-norm of each neuron's row
//   u = G z / n + b + beta[t-1];   h[t] = act(u)
//   F[t] = clamp(Lambda * F[t-1] / n + Gamma * (h[t] outer z[t]), +-c)
//
// This is norm `pre`, without layer norm. Variants (StpnVariant):
//   feed-forward         z[t] = x[t], N = I; h is not part of the state
//   norm `none`          n = 1
//   norm `preactivation` the pre-activation is divided by n, F in its update is not
//   norm `post`          as `preactivation`; then each row of the new F is divided by
//                        |W + F| + 1e-16
//   connections          fast weights on the input or the recurrent synapses only: F has P = I or
//                        P = H columns, else P = N. n remains the norm over all N synapses.
//   rule `oja`, decay `after_update`, presynaptic `current` (h[t] in place of h[t-1] in the Hebbian
//                        term, not in the pre-activation): stpn/kernels/stpn/ref.cc, update()
//   rule `delta`         F learns what it does not recall yet: in place of h[t] outer z[t]
//                          (v - F[t-1] z / n) outer z / (|z|^2 + 1e-6),   v = act(W z / n + b)
//                        Norm `pre`, decay `before_update`, presynaptic `previous`, all connections
//   layer norm of u      after the bias; epsilon 1e-5
//   plastic bias         beta[t] = clamp(bias_lambda * beta[t-1] + bias_gamma * h[t], +-c), else 0;
//                        it takes no part in the norms
//   gates                a factor for each neuron, computed with slow weights; each is optional,
//                        only with recurrent synapses:
//     update   k = sigmoid(U z[t] + d) keeps activity: h[t] = k h[t-1] + (1 - k) act(u)
//     write    w = 2 sigmoid(B x[t]) scales what F learns: w Gamma in place of Gamma. Not with
//              rule `oja`
//     decay    a = sigmoid(A x[t] + 4) scales what F keeps: a F[t-1] / n in place of F[t-1] / n in
//              its update. Not with rule `oja`; norm `pre`
//
// Garcia Rodriguez, Guo, Moraitis: Short-Term Plasticity Neurons Learning to Learn and Forget, ICML
// 2022, section 3. What the paper leaves open about layer norm and plastic bias follows the
// published code.
#pragma once

#include <cstdint>
#include <memory>

#include "stpn/kernels/sequence_params.h"
#include "stpn/kernels/stpn/signature.h"

namespace stpn::kernels {

// How many values Lambda and Gamma have: one per synapse (H, P), one per presynaptic input (P), or
// a single one (1).
enum class Rates { synapse, presynaptic, scalar };

struct StpnVariant {
  STPN_OPTIONS(STPN_VARIANT_FIELD)
  bool recurrent = true;
  Rates rates = Rates::synapse;
  bool layer_norm = false;
  bool plastic_bias = false;
  // Lambda and Gamma of the plastic bias: a single value each, else one per neuron.
  bool scalar_bias_rates = false;
  bool update_gate = false;
  bool write_gate = false;
  bool decay_gate = false;

  bool has_gates() const { return update_gate || write_gate || decay_gate; }
};

// What the decay gate adds to A x: at first it keeps nearly all of F.
inline constexpr double kDecayGateOffset = 4;
// Rule `delta`: added to |z|^2 before something is divided by it.
inline constexpr double kSquaresEpsilon = 1e-6;

// Whether the variant is one that rule `delta` is defined for, or has another rule.
inline bool is_complete_delta(const StpnVariant& v) {
  return v.rule != Rule::delta || (v.norm == Norm::pre && v.decay == Decay::before_update &&
                                   (!v.recurrent || (v.presynaptic == Presynaptic::previous &&
                                                     v.connections == Connections::all)));
}

// N: presynaptic inputs of a neuron.
inline int64_t fan_in(const Extent& extent) { return extent.inputs + extent.hidden; }
inline int64_t fan_in(const Extent& extent, const StpnVariant& variant) {
  return variant.recurrent ? fan_in(extent) : extent.inputs;
}

// P: how many of the presynaptic inputs have fast weights; and the index of the first of those.
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

// The size that a letter of the signature's shapes stands for.
inline int64_t size_of(char letter, const Extent& extent, const StpnVariant& variant) {
  if (letter == 'N') return fan_in(extent, variant);
  return letter == 'P' ? plastic_fan_in(extent, variant) : size_of(letter, extent);
}

// The arrays of a sequence, by the names of the signature: what each is and its shape stand there.
// Energy of a neuron at a step: the sum over j of measured[j] |G_ij| / n_i z_j^2, voltage squared
// times conductance. The op adds |U| z^2, |B| x^2 and |A| x^2 of the gates; the W z and F z of rule
// `delta` are of synapses that are counted already.
template <typename T>
struct StpnForwardParams : SequenceForward<T> {
  StpnVariant variant;
  STPN_TENSORS(STPN_FORWARD_FIELD)
};

// Gradients of a scalar loss from those of what forward returned. Null: zero (read) or not wanted
// (written). `forward` is as it was in the forward call; its `output`, `saved` and initial state
// are read.
template <typename T>
struct StpnBackwardParams : SequenceBackward<T> {
  StpnForwardParams<T> forward;
  STPN_TENSORS(STPN_BACKWARD_FIELD)
};

STPN_UNIT_FIELDS(StpnFields, STPN_TENSORS, StpnForwardParams, StpnBackwardParams);

// The reference: the equations line by line. Stores every F and takes one sample after the other.
// Every variant.
template <typename T>
void stpn_forward_ref(const StpnForwardParams<T>& p);
template <typename T>
void stpn_backward_ref(const StpnBackwardParams<T>& p);

// SIMD with run-time dispatch: a few samples at a time run through the whole sequence; backward
// recomputes F from checkpoints. Every variant. The same bits for any number of threads.
template <typename T>
void stpn_forward_cpu(const StpnForwardParams<T>& p);
template <typename T>
void stpn_backward_cpu(const StpnBackwardParams<T>& p);

template <typename T>
std::shared_ptr<const PlasticPlan<T>> stpn_cpu_plan(const Extent& extent,
                                                    const StpnVariant& variant,
                                                    Grouping grouping = Grouping::fastest);

}  // namespace stpn::kernels
