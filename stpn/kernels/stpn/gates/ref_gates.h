// The gates of the STPN (equations.h has the equations) and their derivative, for one sample at one
// time step: scalar code for the reference.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {

// (H) each, empty where the variant has no such gate: the values of the gates, or the gradients of
// the loss with respect to them.
template <typename T>
struct StpnGateValues {
  std::vector<T> update, write, decay;
};

// scale * sigmoid(weight z + bias + offset), (H). `bias` may be null. weight (H, columns).
template <typename T>
std::vector<T> gate(const T* weight, int64_t columns, const T* bias, T offset, T scale,
                    const std::vector<T>& z, int64_t hidden) {
  std::vector<T> values(hidden);
  for (int64_t i = 0; i < hidden; ++i) {
    T sum = offset + (bias == nullptr ? T(0) : bias[i]);
    for (int64_t j = 0; j < columns; ++j) sum += weight[i * columns + j] * z[j];
    values[i] = scale / (T(1) + std::exp(-sum));
  }
  return values;
}

// `z` (N): the presynaptic inputs, x[t] first.
template <typename T>
StpnGateValues<T> stpn_gates(const StpnForwardParams<T>& p, const std::vector<T>& z) {
  const int64_t H = p.extent.hidden, I = p.extent.inputs;
  const StpnVariant& v = p.variant;
  StpnGateValues<T> gates;
  if (v.update_gate) gates.update = gate(p.update_weight, I + H, p.update_bias, T(0), T(1), z, H);
  if (v.write_gate) gates.write = gate<T>(p.write_weight, I, nullptr, T(0), T(2), z, H);
  if (v.decay_gate) {
    gates.decay = gate<T>(p.decay_weight, I, nullptr, T(kDecayGateOffset), T(1), z, H);
  }
  return gates;
}

// From the gradient `d_gate` of one gate, whose values are `values`, adds to those of its weights
// and of z. Null: not wanted.
template <typename T>
void backpropagate_gate(const T* weight, int64_t columns, T scale, const std::vector<T>& values,
                        const std::vector<T>& d_gate, const std::vector<T>& z, T* grad_weight,
                        T* grad_bias, std::vector<T>& dz) {
  for (size_t i = 0; i < values.size(); ++i) {
    const T du = d_gate[i] * values[i] * (T(1) - values[i] / scale);
    if (grad_bias != nullptr) grad_bias[i] += du;
    const auto row = static_cast<int64_t>(i) * columns;
    for (int64_t j = 0; j < columns; ++j) {
      if (grad_weight != nullptr) grad_weight[row + j] += du * z[j];
      dz[j] += du * weight[row + j];
    }
  }
}

template <typename T>
void backpropagate_stpn_gates(const StpnBackwardParams<T>& p, const StpnGateValues<T>& gates,
                              const StpnGateValues<T>& d_gates, const std::vector<T>& z,
                              std::vector<T>& dz) {
  const StpnForwardParams<T>& f = p.forward;
  const int64_t I = f.extent.inputs, N = I + f.extent.hidden;
  backpropagate_gate(f.update_weight, N, T(1), gates.update, d_gates.update, z,
                     p.grad_update_weight, p.grad_update_bias, dz);
  backpropagate_gate<T>(f.write_weight, I, T(2), gates.write, d_gates.write, z, p.grad_write_weight,
                        nullptr, dz);
  backpropagate_gate<T>(f.decay_weight, I, T(1), gates.decay, d_gates.decay, z, p.grad_decay_weight,
                        nullptr, dz);
}

}  // namespace stpn::kernels
