#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/input_projection.h"
#include "stpn/kernels/row_of.h"

namespace stpn::kernels {
namespace {

template <typename T>
struct State {
  std::vector<T> h, P, E;
};

// Everything that one time step of one sample computes and that backward needs.
template <typename T>
struct StepRecord {
  State<T> before;           // the state that the step reads: before it, after a reset
  std::vector<T> h;          // (H)
  T m = T(0);                // the modulator, or the rate of `plastic`
  std::vector<T> unclamped;  // (H, H) the new P before its clamp
};

// One sample b of a call.
template <typename T>
struct Sample {
  Sample(const BackpropamineForwardParams<T>& call, int64_t sample)
      : p(call), v(call.variant), H(call.extent.hidden), b(sample) {}

  // Index of step t of this sample in arrays (T, B, ...).
  int64_t row(int64_t t) const { return t * p.extent.batch + b; }
  bool is_reset(int64_t t) const { return p.reset != nullptr && p.reset[row(t)] != 0; }
  T bound() const { return static_cast<T>(v.bound()); }
  const T* inputs(int64_t t) const { return p.x + row(t) * p.extent.inputs; }
  InputWeights<T> input_weights() const { return {p.weight_ih, p.extent.inputs, p.bias}; }

  State<T> initial_state() const {
    State<T> state;
    state.h = row_of(p.initial_h, b, H);
    state.P = row_of(p.initial_P, b, H * H);
    if (v.has_trace()) state.E = row_of(p.initial_E, b, H * H);
    return state;
  }

  // D_ij = h_i[t] h_j[t-1], with k = i H + j.
  T hebbian(const StepRecord<T>& step, int64_t k) const {
    return step.h[k / H] * step.before.h[k % H];
  }

  // X_ij, the term that m multiplies: D, or E[t-1] with a trace.
  T modulated_term(const StepRecord<T>& step, int64_t k) const {
    return v.has_trace() ? step.before.E[k] : hebbian(step, k);
  }

  const BackpropamineForwardParams<T>& p;
  const BackpropamineVariant v;
  const int64_t H, b;
};

template <typename T>
void clear(std::vector<T>& values) {
  std::fill(values.begin(), values.end(), T(0));
}

template <typename T>
void clear(State<T>& state) {
  clear(state.h);
  clear(state.P);
  clear(state.E);
}

// h[t], and the energy of step t unless `energy`, (T, B, H), is null.
template <typename T>
void activity(const Sample<T>& s, int64_t t, StepRecord<T>& step, T* energy) {
  step.h = input_projection(s.p.extent, s.input_weights(), s.inputs(t));
  for (int64_t i = 0; i < s.H; ++i) {
    T u = step.h[i];
    T energy_i = T(0);
    for (int64_t j = 0; j < s.H; ++j) {
      const int64_t k = i * s.H + j;
      const T G = s.p.weight_hh[k] + s.p.alpha[k] * step.before.P[k];
      u += G * step.before.h[j];
      energy_i += std::abs(G) * step.before.h[j] * step.before.h[j];
    }
    step.h[i] = std::tanh(u);
    if (energy != nullptr) energy[s.row(t) * s.H + i] = energy_i;
  }
}

// m[t], or the rate of `plastic`.
template <typename T>
T modulator(const Sample<T>& s, const StepRecord<T>& step) {
  if (!s.v.has_modulator()) return s.p.rate[0];
  T u = s.p.modulator_bias[0];
  for (int64_t i = 0; i < s.H; ++i) u += s.p.modulator_weight[i] * step.h[i];
  return activate(s.v.modulator_activation(), u);
}

// The new P and E, into `state`.
template <typename T>
void update(const Sample<T>& s, StepRecord<T>& step, State<T>& state) {
  state.h = step.h;
  step.m = modulator(s, step);
  step.unclamped.resize(s.H * s.H);
  for (int64_t k = 0; k < s.H * s.H; ++k) {
    const T P = step.before.P[k];
    const T delta = step.m * s.modulated_term(step, k);
    T& value = step.unclamped[k];
    switch (s.v.addition) {
      case Addition::clamp:
      case Addition::additive:
        value = P + delta;
        break;
      case Addition::soft_clamp:
        value = P + at_least(T(0), delta) * (T(1) - P) + at_most(T(0), delta) * (P + T(1));
        break;
      case Addition::decaying:
        value = (T(1) - step.m) * P + delta;
        break;
    }
    state.P[k] = clamped(value, s.bound());
    if (s.v.has_trace()) {
      state.E[k] = (T(1) - s.p.rate[0]) * step.before.E[k] + s.p.rate[0] * s.hebbian(step, k);
    }
  }
}

// Step t: from `state` before it to `state` after it.
template <typename T>
void run_step(const Sample<T>& s, int64_t t, State<T>& state, StepRecord<T>& step, T* energy) {
  if (s.is_reset(t)) clear(state);
  step.before = state;
  activity(s, t, step, energy);
  update(s, step, state);
}

// Item `index` of an array (n, size); null if the array is.
template <typename T>
T* item(T* array, int64_t index, int64_t size) {
  return array == nullptr ? nullptr : array + index * size;
}

template <typename T>
void add(T* sum, int64_t index, T value) {
  if (sum != nullptr) sum[index] += value;
}

// In the functions below, `grad` is the gradient of the loss with respect to the state, and dX that
// with respect to X; u is the pre-activation of h, and v that of m.

// Backpropagates through the update: turns grad.P and grad.E from those of the new P and E into
// those of P and E before the step; adds to grad.h, of h[t], and to grad_h_before, of h[t-1].
template <typename T>
void backpropagate_update(const BackpropamineBackwardParams<T>& p, const Sample<T>& s,
                          const StepRecord<T>& step, State<T>& grad,
                          std::vector<T>& grad_h_before) {
  T dm = T(0);
  for (int64_t k = 0; k < s.H * s.H; ++k) {
    const T P = step.before.P[k];
    const T X = s.modulated_term(step, k);
    const T delta = step.m * X;
    // Of the new P before its clamp.
    const T dP_new = through_clamp(step.unclamped[k], s.bound(), grad.P[k]);
    T d_delta = dP_new;
    switch (s.v.addition) {
      case Addition::clamp:
      case Addition::additive:
        grad.P[k] = dP_new;
        break;
      case Addition::soft_clamp:
        d_delta *= if_not_negative(delta, T(1) - P) + if_not_negative(-delta, P + T(1));
        grad.P[k] = dP_new * (T(1) - std::abs(delta));
        break;
      case Addition::decaying:
        dm -= dP_new * P;
        grad.P[k] = dP_new * (T(1) - step.m);
        break;
    }
    dm += d_delta * X;
    const T dX = d_delta * step.m;
    T dD = dX;
    if (s.v.has_trace()) {
      const T dE = grad.E[k];
      const T rate = s.p.rate[0];
      add(p.grad_rate, 0, dE * (s.hebbian(step, k) - step.before.E[k]));
      grad.E[k] = dX + dE * (T(1) - rate);
      dD = dE * rate;
    }
    grad.h[k / s.H] += dD * step.before.h[k % s.H];
    grad_h_before[k % s.H] += dD * step.h[k / s.H];
  }
  if (!s.v.has_modulator()) {
    add(p.grad_rate, 0, dm);
    return;
  }
  const T dv = dm * activation_slope(s.v.modulator_activation(), step.m);
  add(p.grad_modulator_bias, 0, dv);
  for (int64_t i = 0; i < s.H; ++i) {
    add(p.grad_modulator_weight, i, dv * step.h[i]);
    grad.h[i] += dv * s.p.modulator_weight[i];
  }
}

// Backpropagates through the activity and the energy: from grad.h to grad.P, grad_h_before, the
// inputs and the weights.
template <typename T>
void backpropagate_activity(const BackpropamineBackwardParams<T>& p, const Sample<T>& s, int64_t t,
                            const StepRecord<T>& step, State<T>& grad,
                            std::vector<T>& grad_h_before) {
  std::vector<T> du(s.H);
  for (int64_t i = 0; i < s.H; ++i) {
    du[i] = grad.h[i] * activation_slope(Activation::tanh, step.h[i]);
    for (int64_t j = 0; j < s.H; ++j) {
      const int64_t k = i * s.H + j;
      const T G = s.p.weight_hh[k] + s.p.alpha[k] * step.before.P[k];
      const T z = step.before.h[j];
      T dG = du[i] * z;
      grad_h_before[j] += du[i] * G;
      if (p.grad_energy != nullptr) {
        const T dE = p.grad_energy[s.row(t) * s.H + i];
        dG += dE * sign(G) * z * z;
        grad_h_before[j] += dE * std::abs(G) * T(2) * z;
      }
      add(p.grad_weight_hh, k, dG);
      add(p.grad_alpha, k, dG * step.before.P[k]);
      grad.P[k] += dG * s.p.alpha[k];
    }
  }
  backpropagate_input_projection<T>(s.p.extent, s.input_weights(), s.inputs(t), du,
                                    {p.grad_weight_ih, s.p.extent.inputs, p.grad_bias},
                                    item(p.grad_x, s.row(t), s.p.extent.inputs));
}

template <typename T>
void clear(T* values, int64_t count) {
  if (values != nullptr) std::fill_n(values, count, T(0));
}

template <typename T>
void copy_out(const std::vector<T>& values, T* out) {
  if (out != nullptr) std::copy(values.begin(), values.end(), out);
}

}  // namespace

template <typename T>
void backpropamine_forward_ref(const BackpropamineForwardParams<T>& p) {
  const int64_t H = p.extent.hidden;
  for (int64_t b = 0; b < p.extent.batch; ++b) {
    const Sample<T> s(p, b);
    State<T> state = s.initial_state();
    StepRecord<T> step;
    for (int64_t t = 0; t < p.extent.steps; ++t) {
      run_step(s, t, state, step, p.energy);
      T* const output = p.output + s.row(t) * H;
      copy_out(step.h, output);
      if (p.closed_loop != nullptr) p.closed_loop->after_step(t, b, 1, output);
    }
    copy_out(state.P, item(p.final_P, b, H * H));
    copy_out(state.E, item(p.final_E, b, H * H));
  }
}

template <typename T>
void backpropamine_backward_ref(const BackpropamineBackwardParams<T>& p) {
  const BackpropamineForwardParams<T>& f = p.forward;
  const int64_t H = f.extent.hidden;
  clear(p.grad_weight_ih, H * f.extent.inputs);
  clear(p.grad_bias, H);
  clear(p.grad_weight_hh, H * H);
  clear(p.grad_alpha, H * H);
  clear(p.grad_modulator_weight, H);
  clear(p.grad_modulator_bias, 1);
  clear(p.grad_rate, 1);

  std::vector<StepRecord<T>> steps(f.extent.steps);
  for (int64_t b = 0; b < f.extent.batch; ++b) {
    const Sample<T> s(f, b);
    State<T> state = s.initial_state();
    for (int64_t t = 0; t < f.extent.steps; ++t) run_step<T>(s, t, state, steps[t], nullptr);

    State<T> grad = state;
    clear(grad);
    if (p.grad_final_P != nullptr) {
      std::copy_n(p.grad_final_P + b * H * H, grad.P.size(), grad.P.begin());
    }
    if (p.grad_final_E != nullptr) {
      std::copy_n(p.grad_final_E + b * H * H, grad.E.size(), grad.E.begin());
    }
    for (int64_t t = f.extent.steps - 1; t >= 0; --t) {
      std::vector<T> grad_h_before(H, T(0));
      if (p.grad_output != nullptr) {
        for (int64_t i = 0; i < H; ++i) grad.h[i] += p.grad_output[s.row(t) * H + i];
      }
      backpropagate_update(p, s, steps[t], grad, grad_h_before);
      backpropagate_activity(p, s, t, steps[t], grad, grad_h_before);
      grad.h = grad_h_before;
      if (s.is_reset(t)) clear(grad);
    }
    copy_out(grad.h, item(p.grad_initial_h, b, H));
    copy_out(grad.P, item(p.grad_initial_P, b, H * H));
    copy_out(grad.E, item(p.grad_initial_E, b, H * H));
  }
}

template void backpropamine_forward_ref(const BackpropamineForwardParams<float>&);
template void backpropamine_forward_ref(const BackpropamineForwardParams<double>&);
template void backpropamine_backward_ref(const BackpropamineBackwardParams<float>&);
template void backpropamine_backward_ref(const BackpropamineBackwardParams<double>&);

}  // namespace stpn::kernels
