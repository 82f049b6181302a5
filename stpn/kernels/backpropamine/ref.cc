#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/input_projection.h"

namespace stpn::kernels {
namespace {

template <typename T>
struct State {
  std::vector<T> h, P, E;
};

// What one step of one sample computes, all of it, so that backward only reads.
template <typename T>
struct Pass {
  State<T> before;           // after a reset
  std::vector<T> h;          // (H)
  T m = T(0);                // the modulator, or `plastic`'s rate
  std::vector<T> unclamped;  // (H, H) new P
};

template <typename T>
struct Sample {
  Sample(const BackpropamineForwardParams<T>& call, int64_t sample)
      : p(call), v(call.variant), H(call.extent.hidden), b(sample) {}

  int64_t row(int64_t t) const { return t * p.extent.batch + b; }
  bool is_reset(int64_t t) const { return p.reset != nullptr && p.reset[row(t)] != 0; }
  T bound() const { return static_cast<T>(v.bound()); }
  const T* inputs(int64_t t) const { return p.x + row(t) * p.extent.inputs; }
  InputWeights<T> input_weights() const { return {p.weight_ih, p.extent.inputs, p.bias}; }

  State<T> initial_state() const {
    State<T> state;
    state.h.assign(p.initial_h + b * H, p.initial_h + (b + 1) * H);
    state.P.assign(p.initial_P + b * H * H, p.initial_P + (b + 1) * H * H);
    if (v.has_trace()) state.E.assign(p.initial_E + b * H * H, p.initial_E + (b + 1) * H * H);
    return state;
  }

  // D_ij = h_i[t] h_j[t-1].
  T hebbian(const Pass<T>& step, int64_t k) const { return step.h[k / H] * step.before.h[k % H]; }

  // What m multiplies.
  T learnt(const Pass<T>& step, int64_t k) const {
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

template <typename T>
void activity(const Sample<T>& s, int64_t t, Pass<T>& step, T* energy) {
  step.h = input_projection(s.p.extent, s.input_weights(), s.inputs(t));
  for (int64_t i = 0; i < s.H; ++i) {
    T u = step.h[i];
    T spent = T(0);
    for (int64_t j = 0; j < s.H; ++j) {
      const int64_t k = i * s.H + j;
      const T G = s.p.weight_hh[k] + s.p.alpha[k] * step.before.P[k];
      u += G * step.before.h[j];
      spent += std::abs(G) * step.before.h[j] * step.before.h[j];
    }
    step.h[i] = std::tanh(u);
    if (energy != nullptr) energy[s.row(t) * s.H + i] = spent;
  }
}

template <typename T>
T modulator(const Sample<T>& s, const Pass<T>& step) {
  if (!s.v.has_modulator()) return s.p.rate[0];
  T u = s.p.modulator_bias[0];
  for (int64_t i = 0; i < s.H; ++i) u += s.p.modulator_weight[i] * step.h[i];
  return activate(s.v.modulator_activation(), u);
}

template <typename T>
void update(const Sample<T>& s, Pass<T>& step, State<T>& state) {
  state.h = step.h;
  step.m = modulator(s, step);
  step.unclamped.resize(s.H * s.H);
  for (int64_t k = 0; k < s.H * s.H; ++k) {
    const T P = step.before.P[k];
    const T d = step.m * s.learnt(step, k);
    T& value = step.unclamped[k];
    switch (s.v.addition) {
      case Addition::clamp:
      case Addition::additive:
        value = P + d;
        break;
      case Addition::soft_clamp:
        value = P + std::max(d, T(0)) * (T(1) - P) + std::min(d, T(0)) * (P + T(1));
        break;
      case Addition::decaying:
        value = (T(1) - step.m) * P + d;
        break;
    }
    state.P[k] = std::clamp(value, -s.bound(), s.bound());
    if (s.v.has_trace()) {
      state.E[k] = (T(1) - s.p.rate[0]) * step.before.E[k] + s.p.rate[0] * s.hebbian(step, k);
    }
  }
}

template <typename T>
void run_step(const Sample<T>& s, int64_t t, State<T>& state, Pass<T>& step, T* energy) {
  if (s.is_reset(t)) clear(state);
  step.before = state;
  activity(s, t, step, energy);
  update(s, step, state);
}

// The k-th of the (n, size) blocks of `all`.
template <typename T>
T* part(T* all, int64_t k, int64_t size) {
  return all == nullptr ? nullptr : all + k * size;
}

template <typename T>
void add(T* sum, int64_t index, T value) {
  if (sum != nullptr) sum[index] += value;
}

// Back through the update. Leaves the gradients of P and E before the step in d; adds to d.h and
// d_before (of h[t-1]).
template <typename T>
void back_through_update(const BackpropamineBackwardParams<T>& p, const Sample<T>& s, const Pass<T>& step,
                         State<T>& d, std::vector<T>& d_before) {
  T dm = T(0);
  for (int64_t k = 0; k < s.H * s.H; ++k) {
    const T P = step.before.P[k];
    const T X = s.learnt(step, k);
    const T delta = step.m * X;
    T dA = d.P[k];
    if (std::abs(step.unclamped[k]) > s.bound()) dA = T(0);
    T d_delta = dA;
    switch (s.v.addition) {
      case Addition::clamp:
      case Addition::additive:
        d.P[k] = dA;
        break;
      case Addition::soft_clamp:
        d_delta *= (delta >= T(0) ? T(1) - P : T(0)) + (delta <= T(0) ? P + T(1) : T(0));
        d.P[k] = dA * (T(1) - std::abs(delta));
        break;
      case Addition::decaying:
        dm -= dA * P;
        d.P[k] = dA * (T(1) - step.m);
        break;
    }
    dm += d_delta * X;
    T dD = d_delta * step.m;
    if (s.v.has_trace()) {
      const T dE = d.E[k];
      const T rate = s.p.rate[0];
      add(p.grad_rate, 0, dE * (s.hebbian(step, k) - step.before.E[k]));
      d.E[k] = dD + dE * (T(1) - rate);
      dD = dE * rate;
    }
    d.h[k / s.H] += dD * step.before.h[k % s.H];
    d_before[k % s.H] += dD * step.h[k / s.H];
  }
  if (!s.v.has_modulator()) {
    add(p.grad_rate, 0, dm);
    return;
  }
  const T du = dm * activation_slope(s.v.modulator_activation(), step.m);
  add(p.grad_modulator_bias, 0, du);
  for (int64_t i = 0; i < s.H; ++i) {
    add(p.grad_modulator_weight, i, du * step.h[i]);
    d.h[i] += du * s.p.modulator_weight[i];
  }
}

// Back through the activity: from d.h to the inputs, to d.P and to d_before.
template <typename T>
void back_through_activity(const BackpropamineBackwardParams<T>& p, const Sample<T>& s, int64_t t,
                           const Pass<T>& step, State<T>& d, std::vector<T>& d_before) {
  std::vector<T> d_preactivation(s.H);
  for (int64_t i = 0; i < s.H; ++i) {
    const T du = d_preactivation[i] = d.h[i] * activation_slope(Activation::tanh, step.h[i]);
    for (int64_t j = 0; j < s.H; ++j) {
      const int64_t k = i * s.H + j;
      const T dG = du * step.before.h[j];
      add(p.grad_weight_hh, k, dG);
      add(p.grad_alpha, k, dG * step.before.P[k]);
      d.P[k] += dG * s.p.alpha[k];
      d_before[j] += du * (s.p.weight_hh[k] + s.p.alpha[k] * step.before.P[k]);
    }
  }
  backpropagate_input_projection<T>(s.p.extent, s.input_weights(), s.inputs(t), d_preactivation,
                              {p.grad_weight_ih, s.p.extent.inputs, p.grad_bias},
                              part(p.grad_x, s.row(t), s.p.extent.inputs));
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
    Pass<T> step;
    for (int64_t t = 0; t < p.extent.steps; ++t) {
      run_step(s, t, state, step, p.energy);
      T* const output = p.output + s.row(t) * H;
      copy_out(step.h, output);
      if (p.closed_loop != nullptr) p.closed_loop->after_step(t, b, 1, output);
    }
    copy_out(state.P, part(p.final_P, b, H * H));
    copy_out(state.E, part(p.final_E, b, H * H));
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

  std::vector<Pass<T>> steps(f.extent.steps);
  for (int64_t b = 0; b < f.extent.batch; ++b) {
    const Sample<T> s(f, b);
    State<T> state = s.initial_state();
    for (int64_t t = 0; t < f.extent.steps; ++t) run_step<T>(s, t, state, steps[t], nullptr);

    State<T> d = state;
    clear(d);
    if (p.grad_final_P != nullptr) std::copy_n(p.grad_final_P + b * H * H, d.P.size(), d.P.begin());
    if (p.grad_final_E != nullptr) std::copy_n(p.grad_final_E + b * H * H, d.E.size(), d.E.begin());
    for (int64_t t = f.extent.steps - 1; t >= 0; --t) {
      std::vector<T> d_before(H, T(0));
      if (p.grad_output != nullptr) {
        for (int64_t i = 0; i < H; ++i) d.h[i] += p.grad_output[s.row(t) * H + i];
      }
      back_through_update(p, s, steps[t], d, d_before);
      back_through_activity(p, s, t, steps[t], d, d_before);
      d.h = d_before;
      if (s.is_reset(t)) clear(d);
    }
    copy_out(d.h, part(p.grad_initial_h, b, H));
    copy_out(d.P, part(p.grad_initial_P, b, H * H));
    copy_out(d.E, part(p.grad_initial_E, b, H * H));
  }
}

template void backpropamine_forward_ref(const BackpropamineForwardParams<float>&);
template void backpropamine_forward_ref(const BackpropamineForwardParams<double>&);
template void backpropamine_backward_ref(const BackpropamineBackwardParams<float>&);
template void backpropamine_backward_ref(const BackpropamineBackwardParams<double>&);

}  // namespace stpn::kernels
