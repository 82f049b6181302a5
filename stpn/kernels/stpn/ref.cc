#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/layer_norm.h"
#include "stpn/kernels/cpu/plan.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels {
namespace {

// The sizes of a call, and where each value of the parameters lies.
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

  int64_t rate(int64_t i, int64_t j) const {
    if (variant.rates == Rates::scalar) return 0;
    return variant.rates == Rates::presynaptic ? j : i * P + j;
  }
  int64_t bias_rate(int64_t i) const { return variant.scalar_bias_rates ? 0 : i; }
  T bound() const { return static_cast<T>(variant.clamp); }
  bool inside(T value) const { return value >= -bound() && value <= bound(); }

  Extent extent;
  StpnVariant variant;
  int64_t H, I, N, P, first;
};

// What one step of one sample computes, all of it, so that backward only reads.
template <typename T>
struct Pass {
  std::vector<T> z;               // (N)    [x[t]; h[t-1]]
  std::vector<T> hebbian_z;       // (P)    presynaptic term of the update
  std::vector<T> F, beta;         // (H, P), (H)  before the step, after a reset
  std::vector<T> G, norm;         // (H, N), (H)  norm without its floor
  std::vector<T> dot;             // (H)    G z
  std::vector<T> normalised;      // (H)    layer norm before gain and bias
  T inverse_deviation = T(0);     //        of the layer norm
  std::vector<T> h;               // (H)
  std::vector<T> entering;        // (H, P) F as it enters the update
  std::vector<T> predicted;       // (P)    what Oja's rule takes off
  std::vector<T> unclamped;       // (H, P) new F before clamp and norm `post`
  std::vector<T> post_norm;       // (H)    without its floor
  std::vector<T> unclamped_beta;  // (H)
};

template <typename T>
struct State {
  std::vector<T> h, F, beta;
};

template <typename T>
T floored(T norm) {
  return norm + static_cast<T>(kNormEpsilon);
}

template <typename T>
void begin_step(const StpnForwardParams<T>& p, const Shape<T>& s, int64_t t, int64_t b,
                State<T>& state, Pass<T>& step) {
  if (p.reset != nullptr && p.reset[t * s.extent.batch + b] != 0) {
    std::fill(state.h.begin(), state.h.end(), T(0));
    std::fill(state.F.begin(), state.F.end(), T(0));
    std::fill(state.beta.begin(), state.beta.end(), T(0));
  }
  const T* x = p.x + (t * s.extent.batch + b) * s.I;
  step.z.assign(x, x + s.I);
  if (s.variant.recurrent) step.z.insert(step.z.end(), state.h.begin(), state.h.end());
  step.F = state.F;
  step.beta = state.beta;
}

// u = G z / n + b + beta, layer norm, activation.
template <typename T>
void preactivation(const StpnForwardParams<T>& p, const Shape<T>& s, Pass<T>& step, T* energy) {
  step.G.assign(p.weight, p.weight + s.H * s.N);
  step.norm.assign(s.H, T(1));
  step.dot.assign(s.H, T(0));
  std::vector<T> u(s.H);
  for (int64_t i = 0; i < s.H; ++i) {
    T* G = step.G.data() + i * s.N;
    for (int64_t j = 0; j < s.P; ++j) G[s.first + j] += step.F[i * s.P + j];
    T squares = T(0);
    T spent = T(0);
    for (int64_t j = 0; j < s.N; ++j) {
      const T z = step.z[j];
      squares += G[j] * G[j];
      step.dot[i] += G[j] * z;
      spent += std::abs(G[j]) * z * z * (p.measured == nullptr ? T(1) : p.measured[j]);
    }
    T n = T(1);
    if (s.variant.norm != Norm::none) {
      step.norm[i] = std::sqrt(squares);
      n = floored(step.norm[i]);
    }
    u[i] = step.dot[i] / n + (p.bias == nullptr ? T(0) : p.bias[i]);
    if (s.variant.plastic_bias) u[i] += step.beta[i];
    if (energy != nullptr) energy[i] = spent / n;
  }
  if (s.variant.layer_norm) {
    step.normalised = u;
    step.inverse_deviation = normalise(step.normalised);
    for (int64_t i = 0; i < s.H; ++i) {
      u[i] = step.normalised[i] * p.layer_norm_weight[i] + p.layer_norm_bias[i];
    }
  }
  step.h.resize(s.H);
  for (int64_t i = 0; i < s.H; ++i) step.h[i] = activate(s.variant.activation, u[i]);
}

// lambda * old + gamma * change, or lambda * (old + gamma * change).
template <typename T>
T decayed(Decay decay, T lambda, T old, T gamma, T change) {
  return decay == Decay::before_update ? lambda * old + gamma * change
                                       : lambda * (old + gamma * change);
}

template <typename T>
void update(const StpnForwardParams<T>& p, const Shape<T>& s, Pass<T>& step, State<T>& state) {
  const StpnVariant& v = s.variant;
  step.entering = step.F;
  if (v.norm == Norm::pre) {
    for (int64_t k = 0; k < s.H * s.P; ++k) step.entering[k] /= floored(step.norm[k / s.P]);
  }
  step.hebbian_z.assign(step.z.begin() + s.first, step.z.begin() + s.first + s.P);
  if (v.recurrent && v.presynaptic == Presynaptic::current && v.connections != Connections::input) {
    std::copy(step.h.begin(), step.h.end(), step.hebbian_z.begin() + (s.I - s.first));
  }
  step.predicted.assign(s.P, T(0));
  if (v.rule == Rule::oja) {
    for (int64_t k = 0; k < s.H * s.P; ++k) {
      step.predicted[k % s.P] += step.h[k / s.P] * step.entering[k];
    }
  }
  step.unclamped.resize(s.H * s.P);
  step.post_norm.assign(s.H, T(1));
  state.h = step.h;
  for (int64_t i = 0; i < s.H; ++i) {
    T* F = state.F.data() + i * s.P;
    const T* W = p.weight + i * s.N;
    for (int64_t j = 0; j < s.P; ++j) {
      const int64_t r = s.rate(i, j);
      const T change = step.h[i] * (step.hebbian_z[j] - step.predicted[j]);
      const T value = decayed(v.decay, p.weight_lambda[r], step.entering[i * s.P + j],
                              p.weight_gamma[r], change);
      step.unclamped[i * s.P + j] = value;
      F[j] = std::clamp(value, -s.bound(), s.bound());
    }
    if (v.norm == Norm::post) {
      T squares = T(0);
      for (int64_t j = 0; j < s.N; ++j) {
        const bool plastic = j >= s.first && j < s.first + s.P;
        const T G = W[j] + (plastic ? F[j - s.first] : T(0));
        squares += G * G;
      }
      step.post_norm[i] = std::sqrt(squares);
      for (int64_t j = 0; j < s.P; ++j) F[j] /= floored(step.post_norm[i]);
    }
  }
  if (v.plastic_bias) {
    step.unclamped_beta.resize(s.H);
    for (int64_t i = 0; i < s.H; ++i) {
      const int64_t r = s.bias_rate(i);
      step.unclamped_beta[i] =
          decayed(v.decay, p.bias_lambda[r], step.beta[i], p.bias_gamma[r], step.h[i]);
      state.beta[i] = std::clamp(step.unclamped_beta[i], -s.bound(), s.bound());
    }
  }
}

template <typename T>
State<T> initial_state(const StpnForwardParams<T>& p, const Shape<T>& s, int64_t b) {
  State<T> state;
  if (s.variant.recurrent) state.h.assign(p.initial_h + b * s.H, p.initial_h + (b + 1) * s.H);
  state.F.assign(p.initial_F + b * s.H * s.P, p.initial_F + (b + 1) * s.H * s.P);
  if (s.variant.plastic_bias) {
    state.beta.assign(p.initial_beta + b * s.H, p.initial_beta + (b + 1) * s.H);
  }
  return state;
}

// Gradients with respect to the state after the step that is being gone back through.
template <typename T>
struct StateGradient {
  std::vector<T> h, F, beta;
};

template <typename T>
void add(T* sum, int64_t index, T value) {
  if (sum != nullptr) sum[index] += value;
}

// Back through clamp and norm `post`: the gradient of the unclamped new F.
template <typename T>
std::vector<T> back_through_bounds(const StpnBackwardParams<T>& p, const Shape<T>& s,
                                   const Pass<T>& step, const std::vector<T>& dF) {
  std::vector<T> d = dF;
  for (int64_t i = 0; i < s.H; ++i) {
    const T* W = p.forward.weight + i * s.N;
    const T* unclamped = step.unclamped.data() + i * s.P;
    T* row = d.data() + i * s.P;
    auto clamped = [&](int64_t j) { return std::clamp(unclamped[j], -s.bound(), s.bound()); };
    if (s.variant.norm == Norm::post) {
      const T m = floored(step.post_norm[i]);
      T dm = T(0);
      for (int64_t j = 0; j < s.P; ++j) dm -= row[j] * clamped(j) / (m * m);
      const T per_G = step.post_norm[i] > T(0) ? dm / step.post_norm[i] : T(0);
      for (int64_t j = 0; j < s.N; ++j) {
        const bool plastic = j >= s.first && j < s.first + s.P;
        const T dG = per_G * (W[j] + (plastic ? clamped(j - s.first) : T(0)));
        add(p.grad_weight, i * s.N + j, dG);
        if (plastic) row[j - s.first] = row[j - s.first] / m + dG;
      }
    }
    for (int64_t j = 0; j < s.P; ++j) {
      if (!s.inside(unclamped[j])) row[j] = T(0);
    }
  }
  return d;
}

// Back through the update. Adds to d.h, d_z and d_norm, and leaves the gradient of F before the
// step in d.F.
template <typename T>
void back_through_update(const StpnBackwardParams<T>& p, const Shape<T>& s, const Pass<T>& step,
                         StateGradient<T>& d, std::vector<T>& d_z, std::vector<T>& d_norm) {
  const StpnForwardParams<T>& f = p.forward;
  const StpnVariant& v = s.variant;
  const std::vector<T> d_new = back_through_bounds(p, s, step, d.F);
  std::vector<T> d_presynaptic(s.P, T(0));
  for (int64_t i = 0; i < s.H; ++i) {
    for (int64_t j = 0; j < s.P; ++j) {
      const int64_t k = i * s.P + j;
      const int64_t r = s.rate(i, j);
      const T lambda = f.weight_lambda[r];
      const T gamma = f.weight_gamma[r];
      const T post_minus_pre = step.hebbian_z[j] - step.predicted[j];
      const T change = step.h[i] * post_minus_pre;
      const bool before = v.decay == Decay::before_update;
      const T learnt = before ? d_new[k] : d_new[k] * lambda;  // gradient of gamma * change
      add(p.grad_weight_gamma, r, learnt * change);
      add(p.grad_weight_lambda, r,
          d_new[k] * (before ? step.entering[k] : step.entering[k] + gamma * change));
      d.F[k] = d_new[k] * lambda;
      d.h[i] += learnt * gamma * post_minus_pre;
      d_presynaptic[j] += learnt * gamma * step.h[i];
    }
  }
  if (v.rule == Rule::oja) {
    for (int64_t k = 0; k < s.H * s.P; ++k) {
      d.h[k / s.P] -= d_presynaptic[k % s.P] * step.entering[k];
      d.F[k] -= d_presynaptic[k % s.P] * step.h[k / s.P];
    }
  }
  if (v.norm == Norm::pre) {
    for (int64_t k = 0; k < s.H * s.P; ++k) {
      const T n = floored(step.norm[k / s.P]);
      d_norm[k / s.P] -= d.F[k] * step.entering[k] / n;
      d.F[k] /= n;
    }
  }
  for (int64_t j = 0; j < s.P; ++j) {
    const int64_t input = s.first + j;
    if (v.presynaptic == Presynaptic::current && input >= s.I) {
      d.h[input - s.I] += d_presynaptic[j];
    } else {
      d_z[input] += d_presynaptic[j];
    }
  }
  if (!v.plastic_bias) return;
  for (int64_t i = 0; i < s.H; ++i) {
    const int64_t r = s.bias_rate(i);
    const T d_beta = s.inside(step.unclamped_beta[i]) ? d.beta[i] : T(0);
    const bool before = v.decay == Decay::before_update;
    const T learnt = before ? d_beta : d_beta * f.bias_lambda[r];
    add(p.grad_bias_gamma, r, learnt * step.h[i]);
    add(p.grad_bias_lambda, r,
        d_beta * (before ? step.beta[i] : step.beta[i] + f.bias_gamma[r] * step.h[i]));
    d.h[i] += learnt * f.bias_gamma[r];
    d.beta[i] = d_beta * f.bias_lambda[r];
  }
}

// Back through activation, layer norm and drive. Leaves the gradient of the state before the step
// in d.
template <typename T>
void backpropagate_preactivation(const StpnBackwardParams<T>& p, const Shape<T>& s, const Pass<T>& step,
                        StateGradient<T>& d, std::vector<T>& d_z, std::vector<T>& d_norm) {
  std::vector<T> du(s.H);
  for (int64_t i = 0; i < s.H; ++i) {
    du[i] = d.h[i] * activation_slope(s.variant.activation, step.h[i]);
  }
  if (s.variant.layer_norm) {
    for (int64_t i = 0; i < s.H; ++i) {
      add(p.grad_layer_norm_weight, i, du[i] * step.normalised[i]);
      add(p.grad_layer_norm_bias, i, du[i]);
      du[i] *= p.forward.layer_norm_weight[i];
    }
    back_through_normalise(step.normalised, step.inverse_deviation, du);
  }
  for (int64_t i = 0; i < s.H; ++i) {
    add(p.grad_bias, i, du[i]);
    if (s.variant.plastic_bias) d.beta[i] += du[i];
    const bool normed = s.variant.norm != Norm::none;
    const T n = normed ? floored(step.norm[i]) : T(1);
    d_norm[i] -= du[i] * step.dot[i] / (n * n);
    const T per_G = normed && step.norm[i] > T(0) ? d_norm[i] / step.norm[i] : T(0);
    for (int64_t j = 0; j < s.N; ++j) {
      const T G = step.G[i * s.N + j];
      const T dG = du[i] / n * step.z[j] + per_G * G;
      d_z[j] += du[i] / n * G;
      add(p.grad_weight, i * s.N + j, dG);
      if (j >= s.first && j < s.first + s.P) d.F[i * s.P + j - s.first] += dG;
    }
  }
}

template <typename T>
void clear(T* values, int64_t count) {
  if (values != nullptr) std::fill(values, values + count, T(0));
}

template <typename T>
void copy_out(const std::vector<T>& values, T* out) {
  if (out != nullptr) std::copy(values.begin(), values.end(), out);
}

}  // namespace

template <typename T>
void stpn_forward_ref(const StpnForwardParams<T>& p) {
  const Shape<T> s(p);
  for (int64_t b = 0; b < s.extent.batch; ++b) {
    State<T> state = initial_state(p, s, b);
    Pass<T> step;
    for (int64_t t = 0; t < s.extent.steps; ++t) {
      const int64_t row = (t * s.extent.batch + b) * s.H;
      begin_step(p, s, t, b, state, step);
      preactivation(p, s, step, p.energy == nullptr ? nullptr : p.energy + row);
      update(p, s, step, state);
      copy_out(step.h, p.output + row);
      if (p.closed_loop != nullptr) p.closed_loop->after_step(t, b, 1, p.output + row);
    }
    copy_out(state.F, p.final_F + b * s.H * s.P);
    if (s.variant.plastic_bias) copy_out(state.beta, p.final_beta + b * s.H);
  }
}

template <typename T>
void stpn_backward_ref(const StpnBackwardParams<T>& p) {
  const StpnForwardParams<T>& f = p.forward;
  const Shape<T> s(f);
  const int64_t rates = rate_count(f.extent, f.variant);
  const int64_t bias_rates = s.variant.scalar_bias_rates ? 1 : s.H;
  clear(p.grad_weight, s.H * s.N);
  clear(p.grad_bias, s.H);
  clear(p.grad_weight_lambda, rates);
  clear(p.grad_weight_gamma, rates);
  clear(p.grad_layer_norm_weight, s.H);
  clear(p.grad_layer_norm_bias, s.H);
  clear(p.grad_bias_lambda, bias_rates);
  clear(p.grad_bias_gamma, bias_rates);

  std::vector<Pass<T>> steps(s.extent.steps);
  for (int64_t b = 0; b < s.extent.batch; ++b) {
    State<T> state = initial_state(f, s, b);
    for (int64_t t = 0; t < s.extent.steps; ++t) {
      begin_step(f, s, t, b, state, steps[t]);
      preactivation<T>(f, s, steps[t], nullptr);
      update(f, s, steps[t], state);
    }
    StateGradient<T> d;
    d.h.assign(s.H, T(0));
    d.F.assign(s.H * s.P, T(0));
    d.beta.assign(s.H, T(0));
    if (p.grad_final_F != nullptr) {
      std::copy_n(p.grad_final_F + b * s.H * s.P, s.H * s.P, d.F.begin());
    }
    if (p.grad_final_beta != nullptr) std::copy_n(p.grad_final_beta + b * s.H, s.H, d.beta.begin());
    for (int64_t t = s.extent.steps - 1; t >= 0; --t) {
      const int64_t row = t * s.extent.batch + b;
      std::vector<T> d_z(s.N, T(0));
      std::vector<T> d_norm(s.H, T(0));
      if (p.grad_output != nullptr) {
        for (int64_t i = 0; i < s.H; ++i) d.h[i] += p.grad_output[row * s.H + i];
      }
      back_through_update(p, s, steps[t], d, d_z, d_norm);
      backpropagate_preactivation(p, s, steps[t], d, d_z, d_norm);
      if (p.grad_x != nullptr) std::copy_n(d_z.begin(), s.I, p.grad_x + row * s.I);
      std::fill(d.h.begin(), d.h.end(), T(0));
      std::copy(d_z.begin() + s.I, d_z.end(), d.h.begin());
      if (f.reset != nullptr && f.reset[row] != 0) {
        std::fill(d.h.begin(), d.h.end(), T(0));
        std::fill(d.F.begin(), d.F.end(), T(0));
        std::fill(d.beta.begin(), d.beta.end(), T(0));
      }
    }
    if (p.grad_initial_h != nullptr) copy_out(d.h, p.grad_initial_h + b * s.H);
    if (p.grad_initial_F != nullptr) copy_out(d.F, p.grad_initial_F + b * s.H * s.P);
    if (p.grad_initial_beta != nullptr) copy_out(d.beta, p.grad_initial_beta + b * s.H);
  }
}

template void stpn_forward_ref(const StpnForwardParams<float>&);
template void stpn_forward_ref(const StpnForwardParams<double>&);
template void stpn_backward_ref(const StpnBackwardParams<float>&);
template void stpn_backward_ref(const StpnBackwardParams<double>&);

}  // namespace stpn::kernels
