// The parameters of the STPN's CPU kernel: those of synapses with fast weights, and those of gates.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

enum StpnGate { kUpdateGate, kWriteGate, kDecayGate, kStpnGates };

inline bool has_gate(const StpnVariant& variant, int64_t gate) {
  return gate == kUpdateGate  ? variant.update_gate
         : gate == kWriteGate ? variant.write_gate
                              : variant.decay_gate;
}
// How many presynaptic inputs a gate has, the first of z.
inline int64_t gate_inputs(const Extent& extent, int64_t gate) {
  return gate == kUpdateGate ? fan_in(extent) : extent.inputs;
}
// Sums of gradients, vectors of (H): how many the gates before this one take; of all: kStpnGates.
inline int64_t gate_vectors(const Extent& extent, const StpnVariant& variant, int64_t gate) {
  int64_t count = 0;
  for (int64_t before = 0; before < gate; ++before) {
    if (has_gate(variant, before)) count += gate_inputs(extent, before) + 1;
  }
  return count;
}

template <typename T>
struct StpnParameters {
  StpnParameters(const StpnForwardParams<T>& call, PaddedMatrices<T> of_synapses)
      : matrices(std::move(of_synapses)) {
    const std::vector<T> offset(call.extent.hidden, static_cast<T>(kDecayGateOffset));
    const T* weights[] = {call.update_weight, call.write_weight, call.decay_weight};
    const T* biases[] = {call.update_bias, nullptr, offset.data()};
    for (int64_t gate = 0; gate < kStpnGates; ++gate) {
      if (!has_gate(call.variant, gate)) continue;
      const int64_t inputs = gate_inputs(call.extent, gate);
      Extent extent = call.extent;
      extent.inputs = inputs;
      gates[gate].emplace(extent, InputWeights<T>{weights[gate], inputs, biases[gate]});
    }
  }

  PaddedMatrices<T> matrices;
  std::optional<PaddedInputWeights<T>> gates[kStpnGates];
};

}  // namespace stpn::kernels
