#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/layer_norm.h"
#include "stpn/kernels/row_of.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/gates/ref_gates.h"
#include "stpn/kernels/stpn/ref_step.h"
#include "stpn/kernels/stpn/rules/ref_delta.h"

namespace stpn::kernels {
namespace {

using namespace stpn_ref;  // NOLINT(google-build-using-namespace)

// Applies a reset, and records what the step reads.
template <typename T>
void begin_step(const StpnForwardParams<T>& p, const Shape<T>& s, int64_t t, int64_t b,
                State<T>& state, StepRecord<T>& step) {
  if (p.reset != nullptr && p.reset[t * s.extent.batch + b] != 0) {
    std::fill(state.h.begin(), state.h.end(), T(0));
    std::fill(state.F.begin(), state.F.end(), T(0));
    std::fill(state.beta.begin(), state.beta.end(), T(0));
  }
  const T* x = p.x + (t * s.extent.batch + b) * s.I;
  step.z.assign(x, x + s.I);
  if (s.variant.recurrent) step.z.insert(step.z.end(), state.h.begin(), state.h.end());
  step.gates = stpn_gates(p, step.z);
  step.F = state.F;
  step.beta = state.beta;
}

// u = G z / n + b + beta, layer norm, activation, update gate.
template <typename T>
void preactivation(const StpnForwardParams<T>& p, const Shape<T>& s, StepRecord<T>& step,
                   T* energy) {
  step.G.assign(p.weight, p.weight + s.H * s.N);
  step.norm.assign(s.H, T(1));
  step.dot.assign(s.H, T(0));
  std::vector<T> u(s.H);
  for (int64_t i = 0; i < s.H; ++i) {
    T* G = step.G.data() + i * s.N;
    for (int64_t j = 0; j < s.P; ++j) G[s.first + j] += step.F[i * s.P + j];
    T squares = T(0);
    T energy_i = T(0);
    for (int64_t j = 0; j < s.N; ++j) {
      const T z = step.z[j];
      squares += G[j] * G[j];
      step.dot[i] += G[j] * z;
      energy_i += std::abs(G[j]) * z * z * (p.measured == nullptr ? T(1) : p.measured[j]);
    }
    T n = T(1);
    if (s.variant.norm != Norm::none) {
      step.norm[i] = std::sqrt(squares);
      n = plus_epsilon(step.norm[i]);
    }
    u[i] = step.dot[i] / n + (p.bias == nullptr ? T(0) : p.bias[i]);
    if (s.variant.plastic_bias) u[i] += step.beta[i];
    if (energy != nullptr) energy[i] = energy_i / n;
  }
  if (s.variant.layer_norm) {
    step.normalised = u;
    step.inverse_std = normalise(step.normalised);
    for (int64_t i = 0; i < s.H; ++i) {
      u[i] = step.normalised[i] * p.layer_norm_weight[i] + p.layer_norm_bias[i];
    }
  }
  step.candidate.resize(s.H);
  for (int64_t i = 0; i < s.H; ++i) step.candidate[i] = activate(s.variant.activation, u[i]);
  step.h = step.candidate;
  for (int64_t i = 0; i < s.H && s.variant.update_gate; ++i) {
    const T keep = step.gates.update[i];
    step.h[i] = keep * step.z[s.I + i] + (T(1) - keep) * step.candidate[i];
  }
}

// lambda * old + gamma * change, or lambda * (old + gamma * change).
template <typename T>
T decayed(Decay decay, T lambda, T old, T gamma, T change) {
  return decay == Decay::before_update ? lambda * old + gamma * change
                                       : lambda * (old + gamma * change);
}

// The new F and beta, into `state`.
template <typename T>
void update(const StpnForwardParams<T>& p, const Shape<T>& s, StepRecord<T>& step,
            State<T>& state) {
  const StpnVariant& v = s.variant;
  step.F_in = step.F;
  if (v.norm == Norm::pre) {
    for (int64_t k = 0; k < s.H * s.P; ++k) step.F_in[k] /= plus_epsilon(step.norm[k / s.P]);
  }
  step.hebbian_z.assign(step.z.begin() + s.first, step.z.begin() + s.first + s.P);
  if (v.recurrent && v.presynaptic == Presynaptic::current && v.connections != Connections::input) {
    std::copy(step.h.begin(), step.h.end(), step.hebbian_z.begin() + (s.I - s.first));
  }
  step.oja_term.assign(s.P, T(0));
  if (v.rule == Rule::oja) {
    for (int64_t k = 0; k < s.H * s.P; ++k) {
      step.oja_term[k % s.P] += step.h[k / s.P] * step.F_in[k];
    }
  }
  step.growth = step.h;
  if (v.rule == Rule::delta) {
    step.written = stpn_written(p, step.F, step.dot, step.norm, step.z);
    step.growth = step.written.growth;
  }
  for (int64_t i = 0; i < s.H; ++i) step.growth[i] *= step.write(i);
  step.unclamped.resize(s.H * s.P);
  step.post_norm.assign(s.H, T(1));
  state.h = step.h;
  for (int64_t i = 0; i < s.H; ++i) {
    T* F = state.F.data() + i * s.P;
    const T* W = p.weight + i * s.N;
    for (int64_t j = 0; j < s.P; ++j) {
      const int64_t r = s.rate(i, j);
      const T change = step.growth[i] * (step.hebbian_z[j] - step.oja_term[j]);
      const T kept = step.keep(i) * step.F_in[i * s.P + j];
      const T value = decayed(v.decay, p.weight_lambda[r], kept, p.weight_gamma[r], change);
      step.unclamped[i * s.P + j] = value;
      F[j] = s.clamped(value);
    }
    if (v.norm == Norm::post) {
      T squares = T(0);
      for (int64_t j = 0; j < s.N; ++j) {
        const bool plastic = j >= s.first && j < s.first + s.P;
        const T G = W[j] + (plastic ? F[j - s.first] : T(0));
        squares += G * G;
      }
      step.post_norm[i] = std::sqrt(squares);
      for (int64_t j = 0; j < s.P; ++j) F[j] /= plus_epsilon(step.post_norm[i]);
    }
  }
  if (v.plastic_bias) {
    step.unclamped_beta.resize(s.H);
    for (int64_t i = 0; i < s.H; ++i) {
      const int64_t r = s.bias_rate(i);
      step.unclamped_beta[i] =
          decayed(v.decay, p.bias_lambda[r], step.beta[i], p.bias_gamma[r], step.h[i]);
      state.beta[i] = s.clamped(step.unclamped_beta[i]);
    }
  }
}

template <typename T>
State<T> initial_state(const StpnForwardParams<T>& p, const Shape<T>& s, int64_t b) {
  State<T> state;
  if (s.variant.recurrent) state.h = row_of(p.initial_h, b, s.H);
  state.F = row_of(p.initial_F, b, s.H * s.P);
  if (s.variant.plastic_bias) state.beta = row_of(p.initial_beta, b, s.H);
  return state;
}

template <typename T>
void add(T* sum, int64_t index, T value) {
  if (sum != nullptr) sum[index] += value;
}

// In the functions below, `grad` is the gradient of the loss with respect to the state, and dX that
// with respect to X; dn is that with respect to the norm |G|.

// Backpropagates through norm `post` and the clamp: given dF of the new F, returns the gradient of
// the new F before both.
template <typename T>
std::vector<T> backpropagate_bounds(const StpnBackwardParams<T>& p, const Shape<T>& s,
                                    const StepRecord<T>& step, const std::vector<T>& dF) {
  std::vector<T> dF_new = dF;
  for (int64_t i = 0; i < s.H; ++i) {
    const T* W = p.forward.weight + i * s.N;
    const T* unclamped = step.unclamped.data() + i * s.P;
    T* row = dF_new.data() + i * s.P;
    if (s.variant.norm == Norm::post) {
      const T m = plus_epsilon(step.post_norm[i]);
      T dm = T(0);
      for (int64_t j = 0; j < s.P; ++j) dm -= row[j] * s.clamped(unclamped[j]) / (m * m);
      // The derivative of |W + F| with respect to W_ij + F_ij is (W_ij + F_ij) / |W + F|.
      const T dm_over_norm = if_positive(step.post_norm[i], dm / step.post_norm[i]);
      for (int64_t j = 0; j < s.N; ++j) {
        const bool plastic = j >= s.first && j < s.first + s.P;
        const T dG = dm_over_norm * (W[j] + (plastic ? s.clamped(unclamped[j - s.first]) : T(0)));
        add(p.grad_weight, i * s.N + j, dG);
        if (plastic) row[j - s.first] = row[j - s.first] / m + dG;
      }
    }
    for (int64_t j = 0; j < s.P; ++j) row[j] = s.through_clamp(unclamped[j], row[j]);
  }
  return dF_new;
}

// Backpropagates through the update: turns grad.F and grad.beta from those of the new F and beta
// into those of F and beta before the step; adds to grad.h, of h[t], to dz and to dn. Writes the
// gradients of the write and the decay gate.
template <typename T>
void backpropagate_update(const StpnBackwardParams<T>& p, const Shape<T>& s,
                          const StepRecord<T>& step, State<T>& grad, std::vector<T>& dz,
                          std::vector<T>& dn, StpnGateValues<T>& d_gates) {
  const StpnForwardParams<T>& f = p.forward;
  const StpnVariant& v = s.variant;
  const std::vector<T> dF_new = backpropagate_bounds(p, s, step, grad.F);
  d_gates.write.assign(s.H, T(0));
  d_gates.decay.assign(s.H, T(0));
  std::vector<T> d_presynaptic(s.P, T(0));  // of hebbian_z - oja_term
  std::vector<T> d_growth(s.H, T(0));
  for (int64_t i = 0; i < s.H; ++i) {
    for (int64_t j = 0; j < s.P; ++j) {
      const int64_t k = i * s.P + j;
      const int64_t r = s.rate(i, j);
      const T lambda = f.weight_lambda[r];
      const T gamma = f.weight_gamma[r];
      const T presynaptic = step.hebbian_z[j] - step.oja_term[j];
      const T change = step.growth[i] * presynaptic;
      const T kept = step.keep(i) * step.F_in[k];
      const bool before = v.decay == Decay::before_update;
      // The gradient of gamma * change.
      const T d_learned = before ? dF_new[k] : dF_new[k] * lambda;
      add(p.grad_weight_gamma, r, d_learned * change);
      add(p.grad_weight_lambda, r, dF_new[k] * (before ? kept : kept + gamma * change));
      grad.F[k] = dF_new[k] * lambda * step.keep(i);
      d_gates.decay[i] += dF_new[k] * lambda * step.F_in[k];
      const T d_change = d_learned * gamma;
      d_growth[i] += d_change * presynaptic;
      d_presynaptic[j] += d_change * step.growth[i];
    }
  }
  const std::vector<T>& ungated = v.rule == Rule::delta ? step.written.growth : step.h;
  for (int64_t i = 0; i < s.H; ++i) {
    d_gates.write[i] = d_growth[i] * ungated[i];
    d_growth[i] *= step.write(i);
    if (v.rule != Rule::delta) grad.h[i] += d_growth[i];
  }
  if (v.rule == Rule::oja) {
    for (int64_t k = 0; k < s.H * s.P; ++k) {
      grad.h[k / s.P] -= d_presynaptic[k % s.P] * step.F_in[k];
      grad.F[k] -= d_presynaptic[k % s.P] * step.h[k / s.P];
    }
  }
  if (v.norm == Norm::pre) {
    for (int64_t k = 0; k < s.H * s.P; ++k) {
      const T n = plus_epsilon(step.norm[k / s.P]);
      dn[k / s.P] -= grad.F[k] * step.F_in[k] / n;
      grad.F[k] /= n;
    }
  }
  if (v.rule == Rule::delta) {
    backpropagate_stpn_written(p, step.written, step.F, step.dot, step.norm, step.z, d_growth,
                               grad.F, dz, dn);
  }
  for (int64_t j = 0; j < s.P; ++j) {
    const int64_t input = s.first + j;
    if (v.presynaptic == Presynaptic::current && input >= s.I) {
      grad.h[input - s.I] += d_presynaptic[j];
    } else {
      dz[input] += d_presynaptic[j];
    }
  }
  if (!v.plastic_bias) return;
  for (int64_t i = 0; i < s.H; ++i) {
    const int64_t r = s.bias_rate(i);
    const T dbeta_new = s.through_clamp(step.unclamped_beta[i], grad.beta[i]);
    const bool before = v.decay == Decay::before_update;
    const T d_learned = before ? dbeta_new : dbeta_new * f.bias_lambda[r];
    add(p.grad_bias_gamma, r, d_learned * step.h[i]);
    add(p.grad_bias_lambda, r,
        dbeta_new * (before ? step.beta[i] : step.beta[i] + f.bias_gamma[r] * step.h[i]));
    grad.h[i] += d_learned * f.bias_gamma[r];
    grad.beta[i] = dbeta_new * f.bias_lambda[r];
  }
}

// Backpropagates through the energy of a step, given its gradient (H): to dz, dn, and grad.F of the
// state before the step.
template <typename T>
void backpropagate_energy(const StpnBackwardParams<T>& p, const Shape<T>& s,
                          const StepRecord<T>& step, const T* grad_energy, State<T>& grad,
                          std::vector<T>& dz, std::vector<T>& dn) {
  for (int64_t i = 0; i < s.H; ++i) {
    const T n = s.variant.norm == Norm::none ? T(1) : plus_epsilon(step.norm[i]);
    const T dE = grad_energy[i] / n;  // of the sum over j of |G_ij| z_j^2
    for (int64_t j = 0; j < s.N; ++j) {
      const T G = step.G[i * s.N + j];
      const T z = step.z[j];
      const T counts = p.forward.measured == nullptr ? T(1) : p.forward.measured[j];
      const T dG = dE * counts * sign(G) * z * z;
      dn[i] -= dE * counts * std::abs(G) * z * z / n;
      dz[j] += dE * counts * std::abs(G) * T(2) * z;
      add(p.grad_weight, i * s.N + j, dG);
      if (j >= s.first && j < s.first + s.P) grad.F[i * s.P + j - s.first] += dG;
    }
  }
}

// Backpropagates through the update gate, from grad.h, of h[t], to that of the candidate, in its
// place, to dz and to the gate.
template <typename T>
void backpropagate_update_gate(const Shape<T>& s, const StepRecord<T>& step, State<T>& grad,
                               std::vector<T>& dz, StpnGateValues<T>& d_gates) {
  d_gates.update.assign(s.H, T(0));
  for (int64_t i = 0; i < s.H && s.variant.update_gate; ++i) {
    const T keep = step.gates.update[i];
    d_gates.update[i] = grad.h[i] * (step.z[s.I + i] - step.candidate[i]);
    dz[s.I + i] += grad.h[i] * keep;
    grad.h[i] *= T(1) - keep;
  }
}

// Backpropagates through activation, layer norm and pre-activation: from grad.h, of the candidate,
// to dz, to dn, and to grad.F and grad.beta of the state before the step.
template <typename T>
void backpropagate_preactivation(const StpnBackwardParams<T>& p, const Shape<T>& s,
                                 const StepRecord<T>& step, State<T>& grad, std::vector<T>& dz,
                                 std::vector<T>& dn) {
  std::vector<T> du(s.H);
  for (int64_t i = 0; i < s.H; ++i) {
    du[i] = grad.h[i] * activation_slope(s.variant.activation, step.candidate[i]);
  }
  if (s.variant.layer_norm) {
    for (int64_t i = 0; i < s.H; ++i) {
      add(p.grad_layer_norm_weight, i, du[i] * step.normalised[i]);
      add(p.grad_layer_norm_bias, i, du[i]);
      du[i] *= p.forward.layer_norm_weight[i];
    }
    backpropagate_normalise(step.normalised, step.inverse_std, du);
  }
  for (int64_t i = 0; i < s.H; ++i) {
    add(p.grad_bias, i, du[i]);
    if (s.variant.plastic_bias) grad.beta[i] += du[i];
    const bool normed = s.variant.norm != Norm::none;
    const T n = normed ? plus_epsilon(step.norm[i]) : T(1);
    dn[i] -= du[i] * step.dot[i] / (n * n);
    // The derivative of |G| with respect to G_ij is G_ij / |G|.
    const T dn_over_norm = if_positive(step.norm[i], dn[i] / step.norm[i]);
    for (int64_t j = 0; j < s.N; ++j) {
      const T G = step.G[i * s.N + j];
      T dG = du[i] / n * step.z[j];
      if (normed) dG += dn_over_norm * G;
      dz[j] += du[i] / n * G;
      add(p.grad_weight, i * s.N + j, dG);
      if (j >= s.first && j < s.first + s.P) grad.F[i * s.P + j - s.first] += dG;
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
    StepRecord<T> step;
    for (int64_t t = 0; t < s.extent.steps; ++t) {
      const int64_t row = (t * s.extent.batch + b) * s.H;
      begin_step(p, s, t, b, state, step);
      preactivation(p, s, step, p.energy == nullptr ? nullptr : p.energy + row);
      update(p, s, step, state);
      copy_out(step.h, p.output + row);
      if (p.closed_loop != nullptr) p.closed_loop->after_step(t, b, 1, p.output + row);
    }
    if (p.final_F != nullptr) copy_out(state.F, p.final_F + b * s.H * s.P);
    if (p.final_beta != nullptr) copy_out(state.beta, p.final_beta + b * s.H);
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
  clear(p.grad_update_weight, s.H * s.N);
  clear(p.grad_update_bias, s.H);
  clear(p.grad_write_weight, s.H * s.I);
  clear(p.grad_decay_weight, s.H * s.I);

  std::vector<StepRecord<T>> steps(s.extent.steps);
  for (int64_t b = 0; b < s.extent.batch; ++b) {
    State<T> state = initial_state(f, s, b);
    for (int64_t t = 0; t < s.extent.steps; ++t) {
      begin_step(f, s, t, b, state, steps[t]);
      preactivation<T>(f, s, steps[t], nullptr);
      update(f, s, steps[t], state);
    }
    State<T> grad;
    grad.h.assign(s.H, T(0));
    grad.F.assign(s.H * s.P, T(0));
    grad.beta.assign(s.H, T(0));
    if (p.grad_final_F != nullptr) {
      std::copy_n(p.grad_final_F + b * s.H * s.P, s.H * s.P, grad.F.begin());
    }
    if (p.grad_final_beta != nullptr)
      std::copy_n(p.grad_final_beta + b * s.H, s.H, grad.beta.begin());
    for (int64_t t = s.extent.steps - 1; t >= 0; --t) {
      const int64_t row = t * s.extent.batch + b;
      std::vector<T> dz(s.N, T(0));
      std::vector<T> dn(s.H, T(0));
      if (p.grad_output != nullptr) {
        for (int64_t i = 0; i < s.H; ++i) grad.h[i] += p.grad_output[row * s.H + i];
      }
      StpnGateValues<T> d_gates;
      backpropagate_update(p, s, steps[t], grad, dz, dn, d_gates);
      if (p.grad_energy != nullptr) {
        backpropagate_energy(p, s, steps[t], p.grad_energy + row * s.H, grad, dz, dn);
      }
      backpropagate_update_gate(s, steps[t], grad, dz, d_gates);
      backpropagate_preactivation(p, s, steps[t], grad, dz, dn);
      backpropagate_stpn_gates(p, steps[t].gates, d_gates, steps[t].z, dz);
      if (p.grad_x != nullptr) std::copy_n(dz.begin(), s.I, p.grad_x + row * s.I);
      std::fill(grad.h.begin(), grad.h.end(), T(0));
      std::copy(dz.begin() + s.I, dz.end(), grad.h.begin());
      if (f.reset != nullptr && f.reset[row] != 0) {
        std::fill(grad.h.begin(), grad.h.end(), T(0));
        std::fill(grad.F.begin(), grad.F.end(), T(0));
        std::fill(grad.beta.begin(), grad.beta.end(), T(0));
      }
    }
    if (p.grad_initial_h != nullptr) copy_out(grad.h, p.grad_initial_h + b * s.H);
    if (p.grad_initial_F != nullptr) copy_out(grad.F, p.grad_initial_F + b * s.H * s.P);
    if (p.grad_initial_beta != nullptr) copy_out(grad.beta, p.grad_initial_beta + b * s.H);
  }
}

template void stpn_forward_ref(const StpnForwardParams<float>&);
template void stpn_forward_ref(const StpnForwardParams<double>&);
template void stpn_backward_ref(const StpnBackwardParams<float>&);
template void stpn_backward_ref(const StpnBackwardParams<double>&);

}  // namespace stpn::kernels
