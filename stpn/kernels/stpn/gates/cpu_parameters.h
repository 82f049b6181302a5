// The parameters of the STPN's CPU kernel: those of synapses with fast weights, and those of
// projections beside them: the gates and, with rule `delta`, W z.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "stpn/kernels/cpu/parameters.h"
#include "stpn/kernels/cpu/row_halves/row_halves.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

enum StpnGate { kUpdateGate, kWriteGate, kDecayGate, kWrittenValue, kStpnGates };

inline bool has_gate(const StpnVariant& variant, int64_t gate) {
  return gate == kUpdateGate  ? variant.update_gate
         : gate == kWriteGate ? variant.write_gate
         : gate == kDecayGate ? variant.decay_gate
                              : variant.rule == Rule::delta;
}
inline bool has_any_gate(const StpnVariant& variant) {
  return variant.has_gates() || has_gate(variant, kWrittenValue);
}
// Whether what the update multiplies the presynaptic term by is not h alone.
inline bool has_growth(const StpnVariant& variant) {
  return variant.write_gate || variant.rule == Rule::delta;
}
// How many presynaptic inputs a gate has, the first of z.
inline int64_t gate_inputs(const Extent& extent, const StpnVariant& variant, int64_t gate) {
  return gate == kUpdateGate || gate == kWrittenValue ? fan_in(extent, variant) : extent.inputs;
}
// Sums of gradients, vectors of (H): how many the gates before this one take; of all: kStpnGates.
inline int64_t gate_vectors(const Extent& extent, const StpnVariant& variant, int64_t gate) {
  int64_t count = 0;
  for (int64_t before = 0; before < gate; ++before) {
    if (has_gate(variant, before)) count += gate_inputs(extent, variant, before) + 1;
  }
  return count;
}

template <typename T>
struct StpnParameters {
  StpnParameters(const StpnForwardParams<T>& call, PaddedMatrices<T> of_synapses)
      : matrices(std::move(of_synapses)) {
    const std::vector<T> offset(call.extent.hidden, static_cast<T>(kDecayGateOffset));
    const T* weights[] = {call.update_weight, call.write_weight, call.decay_weight, call.weight};
    const T* biases[] = {call.update_bias, nullptr, offset.data(), nullptr};
    for (int64_t gate = 0; gate < kStpnGates; ++gate) {
      if (!has_gate(call.variant, gate)) continue;
      const int64_t inputs = gate_inputs(call.extent, call.variant, gate);
      Extent extent = call.extent;
      extent.inputs = inputs;
      gates[gate].emplace(extent, InputWeights<T>{weights[gate], inputs, biases[gate]});
    }
  }

  PaddedMatrices<T> matrices;
  // Where the halves of the rows of a single sample meet; null: all rows are on one thread.
  RowHalves<T>* halves = nullptr;
  std::optional<PaddedInputWeights<T>> gates[kStpnGates];
};

}  // namespace stpn::kernels
