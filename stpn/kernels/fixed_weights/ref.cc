#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/activation.h"
#include "stpn/kernels/fixed_weights/equations.h"
#include "stpn/kernels/row_of.h"

namespace stpn::kernels {
namespace {

// Everything that one time step of one sample computes and that backward needs.
template <typename T>
struct StepRecord {
  std::vector<T> h, c;   // (H) h[t-1] and c[t-1], zero after a reset; c of an LSTM only
  std::vector<T> gates;  // (R) after their activation functions
  std::vector<T> q;      // (R)
  std::vector<T> new_c;  // (H) c[t]
};

template <typename T>
struct State {
  std::vector<T> h, c;
};

template <typename T>
bool is_reset(const FixedWeightsForwardParams<T>& p, int64_t row) {
  return p.reset != nullptr && p.reset[row] != 0;
}

// weight values + bias, for values (N) and a weight (R, N).
template <typename T>
std::vector<T> affine(const T* weight, const T* bias, int64_t rows, const std::vector<T>& values) {
  std::vector<T> sums = row_of(bias, 0, rows);
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < values.size(); ++j) sums[r] += weight[r * values.size() + j] * values[j];
  }
  return sums;
}

// Step t: turns `state` into that after the step.
template <typename T>
StepRecord<T> run_step(const FixedWeightsForwardParams<T>& p, int64_t t, int64_t b,
                       State<T>& state) {
  const int64_t H = p.extent.hidden;
  const int64_t rows = gates_of(p.variant.cell) * H;
  const int64_t row = t * p.extent.batch + b;
  if (is_reset(p, row)) {
    std::fill(state.h.begin(), state.h.end(), T(0));
    std::fill(state.c.begin(), state.c.end(), T(0));
  }
  StepRecord<T> step{state.h, state.c, {}, {}, {}};
  step.gates = affine(p.weight_ih, p.bias_ih, rows, row_of(p.x, row, p.extent.inputs));
  step.q = affine(p.weight_hh, p.bias_hh, rows, state.h);
  std::vector<T>& gates = step.gates;
  const auto activate_gate = [&](int64_t r, Activation activation) {
    gates[r] = activate(activation, gates[r] + step.q[r]);
  };
  for (int64_t i = 0; i < H; ++i) {
    switch (p.variant.cell) {
      case Cell::lstm:
        activate_gate(i, Activation::sigmoid);
        activate_gate(H + i, Activation::sigmoid);
        activate_gate(2 * H + i, Activation::tanh);
        activate_gate(3 * H + i, Activation::sigmoid);
        state.c[i] = gates[H + i] * state.c[i] + gates[i] * gates[2 * H + i];
        state.h[i] = gates[3 * H + i] * std::tanh(state.c[i]);
        break;
      case Cell::gru: {
        activate_gate(i, Activation::sigmoid);
        activate_gate(H + i, Activation::sigmoid);
        const T u = gates[H + i];
        T& n = gates[2 * H + i];
        n = std::tanh(n + gates[i] * step.q[2 * H + i]);
        state.h[i] = (T(1) - u) * n + u * state.h[i];
        break;
      }
      case Cell::rnn:
        activate_gate(i, Activation::tanh);
        state.h[i] = gates[i];
        break;
    }
  }
  step.new_c = state.c;
  return step;
}

// In the functions below, dX is the gradient of the loss with respect to X.

// Adds the gradients of weight (R, N), bias and values (N), given ds (R), that of affine().
template <typename T>
void backpropagate_affine(const T* weight, const std::vector<T>& values, const std::vector<T>& ds,
                          T* grad_weight, T* grad_bias, std::vector<T>& grad_values) {
  for (size_t r = 0; r < ds.size(); ++r) {
    if (grad_bias != nullptr) grad_bias[r] += ds[r];
    for (size_t j = 0; j < values.size(); ++j) {
      const size_t k = r * values.size() + j;
      if (grad_weight != nullptr) grad_weight[k] += ds[r] * values[j];
      grad_values[j] += ds[r] * weight[k];
    }
  }
}

// Turns `grad`, the gradient with respect to the state after the step, into that before the step.
template <typename T>
void backpropagate_step(const FixedWeightsBackwardParams<T>& p, int64_t t, int64_t b,
                        const StepRecord<T>& step, State<T>& grad) {
  const FixedWeightsForwardParams<T>& f = p.forward;
  const int64_t H = f.extent.hidden;
  const int64_t row = t * f.extent.batch + b;
  const std::vector<T>& gates = step.gates;
  std::vector<T> dp(gates.size());
  std::vector<T> dq(gates.size());
  std::vector<T> dh_before(H, T(0));
  // With the gradient of a gate: that of its pre-activation p + q.
  const auto through = [&](int64_t r, Activation activation, T gradient) {
    dp[r] = dq[r] = gradient * activation_slope(activation, gates[r]);
  };
  for (int64_t i = 0; i < H; ++i) {
    T dh = grad.h[i];
    if (p.grad_output != nullptr) dh += p.grad_output[row * H + i];
    switch (f.variant.cell) {
      case Cell::lstm: {
        const T tanh_c = std::tanh(step.new_c[i]);
        const T dc = grad.c[i] + dh * gates[3 * H + i] * activation_slope(Activation::tanh, tanh_c);
        through(i, Activation::sigmoid, dc * gates[2 * H + i]);
        through(H + i, Activation::sigmoid, dc * step.c[i]);
        through(2 * H + i, Activation::tanh, dc * gates[i]);
        through(3 * H + i, Activation::sigmoid, dh * tanh_c);
        grad.c[i] = dc * gates[H + i];
        break;
      }
      case Cell::gru: {
        const T r = gates[i];
        const T u = gates[H + i];
        const T n = gates[2 * H + i];
        through(2 * H + i, Activation::tanh, dh * (T(1) - u));
        const T d_sum = dp[2 * H + i];  // of p_n + r q_n
        dq[2 * H + i] = d_sum * r;
        through(i, Activation::sigmoid, d_sum * step.q[2 * H + i]);
        through(H + i, Activation::sigmoid, dh * (step.h[i] - n));
        dh_before[i] = dh * u;
        break;
      }
      case Cell::rnn:
        through(i, Activation::tanh, dh);
        break;
    }
  }
  const int64_t inputs = f.extent.inputs;
  std::vector<T> dx(inputs, T(0));
  backpropagate_affine(f.weight_ih, row_of(f.x, row, inputs), dp, p.grad_weight_ih, p.grad_bias_ih,
                       dx);
  if (p.grad_x != nullptr) std::copy(dx.begin(), dx.end(), p.grad_x + row * inputs);
  backpropagate_affine(f.weight_hh, step.h, dq, p.grad_weight_hh, p.grad_bias_hh, dh_before);
  grad.h = dh_before;
  if (is_reset(f, row)) {
    std::fill(grad.h.begin(), grad.h.end(), T(0));
    std::fill(grad.c.begin(), grad.c.end(), T(0));
  }
}

template <typename T>
void set_to_zero(T* array, int64_t count) {
  if (array != nullptr) std::fill_n(array, count, T(0));
}
template <typename T>
void store(const std::vector<T>& from, int64_t row, T* array) {
  if (array != nullptr) std::copy(from.begin(), from.end(), array + row * from.size());
}

}  // namespace

template <typename T>
void fixed_weights_forward_ref(const FixedWeightsForwardParams<T>& p) {
  const auto [steps, batch, inputs, hidden] = p.extent;
  std::vector<State<T>> states;
  for (int64_t b = 0; b < batch; ++b) {
    states.push_back({row_of(p.initial_h, b, hidden), row_of(p.initial_c, b, hidden)});
  }
  for (int64_t t = 0; t < steps; ++t) {
    for (int64_t b = 0; b < batch; ++b) {
      run_step(p, t, b, states[b]);
      store(states[b].h, t * batch + b, p.output);
    }
    if (p.closed_loop != nullptr) {
      p.closed_loop->after_step(t, 0, batch, p.output + t * batch * hidden);
    }
  }
  for (int64_t b = 0; b < batch; ++b) {
    store(states[b].h, b, p.final_h);
    store(states[b].c, b, p.final_c);
  }
}

template <typename T>
void fixed_weights_backward_ref(const FixedWeightsBackwardParams<T>& p) {
  const FixedWeightsForwardParams<T>& f = p.forward;
  const auto [steps, batch, inputs, hidden] = f.extent;
  const int64_t rows = gates_of(f.variant.cell) * hidden;
  set_to_zero(p.grad_weight_ih, rows * inputs);
  set_to_zero(p.grad_weight_hh, rows * hidden);
  set_to_zero(p.grad_bias_ih, rows);
  set_to_zero(p.grad_bias_hh, rows);
  for (int64_t b = 0; b < batch; ++b) {
    State<T> state{row_of(f.initial_h, b, hidden), row_of(f.initial_c, b, hidden)};
    std::vector<StepRecord<T>> records;
    for (int64_t t = 0; t < steps; ++t) records.push_back(run_step(f, t, b, state));
    State<T> grad{row_of(p.grad_final_h, b, hidden), row_of(p.grad_final_c, b, hidden)};
    for (int64_t t = steps - 1; t >= 0; --t) backpropagate_step(p, t, b, records[t], grad);
    store(grad.h, b, p.grad_initial_h);
    store(grad.c, b, p.grad_initial_c);
  }
}

template void fixed_weights_forward_ref(const FixedWeightsForwardParams<float>&);
template void fixed_weights_forward_ref(const FixedWeightsForwardParams<double>&);
template void fixed_weights_backward_ref(const FixedWeightsBackwardParams<float>&);
template void fixed_weights_backward_ref(const FixedWeightsBackwardParams<double>&);

}  // namespace stpn::kernels
