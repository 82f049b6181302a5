// The short-term plasticity neuron's tensors and options (stpn/kernels/signature.h has the form).
// Two ops share them: stpn_recurrent, and stpn_feedforward, which has no recurrent synapses.
#pragma once

#include <limits>

#include "stpn/kernels/activation.h"
#include "stpn/kernels/signature.h"

namespace stpn::kernels {

STPN_CHOICES(Norm, none, preactivation, pre, post);
STPN_CHOICES(Connections, all, input, recurrent);
STPN_CHOICES(Rule, hebb, oja, delta);
STPN_CHOICES(Decay, before_update, after_update);
STPN_CHOICES(Presynaptic, previous, current);

// N: presynaptic inputs of a neuron, I + H, or I without recurrent synapses. P: how many of them
// have fast weights.
#define STPN_TENSORS(X)                                                                           \
  X(input, x, "T B I", required, differentiable, "inputs")                                        \
  X(activity, h, "B H", nullable, differentiable, "activity before the first step")               \
  X(state, F, "B H P", nullable, differentiable, "fast weights")                                  \
  X(parameter, weight, "H N", required, differentiable, "W: inputs first, then recurrent")        \
  X(parameter, bias, "H", nullable, differentiable, "b")                                          \
  X(parameter, weight_lambda, "H P | P | 1", required, differentiable,                            \
    "Lambda, the decay of F: one a synapse, one a presynaptic input, or one in all")              \
  X(parameter, weight_gamma, "H P | P | 1", required, differentiable,                             \
    "Gamma, the rate at which F grows, of the same shape")                                        \
  X(state, beta, "B H", optional, differentiable, "plastic bias: its fast part")                  \
  X(parameter, bias_lambda, "H | 1", optional, differentiable, "plastic bias: its decay")         \
  X(parameter, bias_gamma, "H | 1", optional, differentiable, "plastic bias: its growth")         \
  X(parameter, layer_norm_weight, "H", optional, differentiable, "layer norm: gain")              \
  X(parameter, layer_norm_bias, "H", optional, differentiable, "layer norm: offset")              \
  X(parameter, update_weight, "H N", optional, differentiable, "update gate: U")                  \
  X(parameter, update_bias, "H", optional, differentiable, "update gate: d")                      \
  X(parameter, write_weight, "H I", optional, differentiable, "write gate: B; not with rule oja") \
  X(parameter, decay_weight, "H I", optional, differentiable,                                     \
    "decay gate: A; norm pre, not with rule oja")                                                 \
  X(input, measured, "N", optional, constant,                                                     \
    "energy: 1 for presynaptic inputs that count, 0 for others")

#define STPN_OPTIONS(X)                                                                       \
  X(choice, Norm, norm, pre, 0, 0,                                                            \
    "what the norm of each neuron's efficacies divides: the pre-activation and the fast "     \
    "weights as they enter their update (pre), the pre-activation and the new fast weights "  \
    "(post), the pre-activation only (preactivation), nothing (none)")                        \
  X(bound, double, clamp, std::numeric_limits<double>::infinity(),                            \
    std::numeric_limits<double>::min(), std::numeric_limits<double>::infinity(),              \
    "bound of the fast weights; inf: none. Set it where norm is none or post")                \
  X(choice, Connections, connections, all, 0, 0, "synapses that have fast weights")           \
  X(choice, Rule, rule, hebb, 0, 0,                                                           \
    "what the fast weights learn: the product of activities (hebb), that less what they "     \
    "already predict (oja), or what the slow weights make of the inputs less what they "      \
    "already recall (delta: norm pre, before_update, previous and all connections)")          \
  X(choice, Decay, decay, before_update, 0, 0,                                                \
    "whether only old fast weights decay (before_update) or what was just learnt too "        \
    "(after_update)")                                                                         \
  X(choice, Presynaptic, presynaptic, previous, 0, 0,                                         \
    "recurrent activity in the Hebbian term: h[t-1] (previous, the paper) or h[t] (current, " \
    "the published retrieval code)")                                                          \
  X(choice, Activation, activation, tanh, 0, 0, "activation function of the neurons")

inline constexpr TensorSpec kStpnTensors[] = {STPN_TENSORS(STPN_TENSOR_SPEC)};
inline constexpr OptionSpec kStpnOptions[] = {STPN_OPTIONS(STPN_OPTION_SPEC)};
inline constexpr const char* kOnlyRecurrent[] = {
    "h",           "connections",  "presynaptic", "update_weight",
    "update_bias", "write_weight", "decay_weight"};
inline constexpr Signature kStpnRecurrent{"stpn_recurrent", kStpnTensors, kStpnOptions, {}};
inline constexpr Signature kStpnFeedforward{"stpn_feedforward", kStpnTensors, kStpnOptions,
                                            kOnlyRecurrent};

}  // namespace stpn::kernels
