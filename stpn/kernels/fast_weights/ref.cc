#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/input_projection.h"
#include "stpn/kernels/layer_norm.h"
#include "stpn/kernels/row_of.h"

namespace stpn::kernels {
namespace {

// One of the S + 1 activities s_k of a time step.
template <typename T>
struct Activity {
  std::vector<T> normalised;  // (H) output of the layer norm, before gain and offset
  T inverse_std = T(1);       // one over the standard deviation that the layer norm divides by
  std::vector<T> s;           // (H)
};

// Everything that one time step of one sample computes and that backward needs.
template <typename T>
struct StepRecord {
  std::vector<T> h;                   // (H)    h[t-1], zero after a reset
  std::vector<T> A;                   // (H, H) A[t]
  std::vector<Activity<T>> activity;  // (S + 1)
};

template <typename T>
struct State {
  std::vector<T> h, A;
};

template <typename T>
State<T> initial_state(const FastWeightsForwardParams<T>& p, int64_t b) {
  const int64_t H = p.extent.hidden;
  return {row_of(p.initial_h, b, H), row_of(p.initial_A, b, H * H)};
}

template <typename T>
InputWeights<T> input_weights(const FastWeightsForwardParams<T>& p) {
  return {p.weight, p.extent.inputs + p.extent.hidden, p.bias};
}

// A matrix (H, H) whose rows are `stride` values apart.
template <typename T>
struct Matrix {
  T* values;
  int64_t stride;
};

// The recurrent part of W or of its gradient: the columns that multiply h.
template <typename T>
Matrix<T> recurrent(const Extent& extent, T* weight) {
  return {weight + extent.inputs, extent.inputs + extent.hidden};
}

// sums += matrix * values
template <typename T>
void add_product(Matrix<const T> matrix, const std::vector<T>& values, std::vector<T>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    for (size_t j = 0; j < sums.size(); ++j) {
      sums[i] += matrix.values[i * matrix.stride + j] * values[j];
    }
  }
}
// sums += matrix^T * values
template <typename T>
void add_transposed_product(Matrix<const T> matrix, const std::vector<T>& values,
                            std::vector<T>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    for (size_t j = 0; j < sums.size(); ++j) {
      sums[j] += matrix.values[i * matrix.stride + j] * values[i];
    }
  }
}

// tanh(LN(u))
template <typename T>
Activity<T> activate(const FastWeightsForwardParams<T>& p, std::vector<T> u) {
  const int64_t H = p.extent.hidden;
  Activity<T> activity;
  if (p.variant.layer_norm) {
    activity.inverse_std = normalise(u);
    activity.normalised = u;
    for (int64_t i = 0; i < H; ++i) u[i] = u[i] * p.layer_norm_weight[i] + p.layer_norm_bias[i];
  }
  for (T& value : u) value = std::tanh(value);
  activity.s = std::move(u);
  return activity;
}

// Step t: turns `state` into that after the step; writes the energy, (H), unless it is null.
template <typename T>
StepRecord<T> run_step(const FastWeightsForwardParams<T>& p, int64_t t, int64_t b, State<T>& state,
                       T* energy) {
  const int64_t H = p.extent.hidden;
  const int64_t row = t * p.extent.batch + b;
  if (p.reset != nullptr && p.reset[row] != 0) {
    std::fill(state.h.begin(), state.h.end(), T(0));
    std::fill(state.A.begin(), state.A.end(), T(0));
  }
  for (int64_t i = 0; i < H; ++i) {
    for (int64_t j = 0; j < H; ++j) {
      T& A = state.A[i * H + j];
      A = static_cast<T>(p.variant.decay) * A +
          static_cast<T>(p.variant.rate) * state.h[i] * state.h[j];
    }
  }
  // The p of the equations.
  std::vector<T> u_0 = input_projection(p.extent, input_weights(p), p.x + row * p.extent.inputs);
  add_product(recurrent(p.extent, p.weight), state.h, u_0);

  StepRecord<T> step{state.h, state.A, {activate(p, u_0)}};
  if (energy != nullptr) std::fill_n(energy, H, T(0));
  for (int64_t k = 1; k <= p.variant.inner_steps; ++k) {
    const std::vector<T>& s = step.activity.back().s;
    for (int64_t i = 0; energy != nullptr && i < H; ++i) {
      for (int64_t j = 0; j < H; ++j) energy[i] += std::abs(step.A[i * H + j]) * s[j] * s[j];
    }
    std::vector<T> u = u_0;
    add_product({step.A.data(), H}, s, u);
    step.activity.push_back(activate(p, std::move(u)));
  }
  state.h = step.activity.back().s;
  return step;
}

// In the functions below, dX is the gradient of the loss with respect to X, and u_k the argument of
// tanh(LN()) for s_k: u_0 = p, u_k = p + A[t] s_(k-1).

// Given ds_k in `du`, returns du_k. `activity` is that of s_k.
template <typename T>
std::vector<T> backpropagate_activity(const FastWeightsBackwardParams<T>& p,
                                      const Activity<T>& activity, std::vector<T> du) {
  const int64_t H = p.forward.extent.hidden;
  for (int64_t i = 0; i < H; ++i) du[i] *= T(1) - activity.s[i] * activity.s[i];
  if (!p.forward.variant.layer_norm) return du;
  for (int64_t i = 0; i < H; ++i) {
    if (p.grad_layer_norm_weight != nullptr) {
      p.grad_layer_norm_weight[i] += du[i] * activity.normalised[i];
    }
    if (p.grad_layer_norm_bias != nullptr) p.grad_layer_norm_bias[i] += du[i];
    du[i] *= p.forward.layer_norm_weight[i];
  }
  backpropagate_normalise(activity.normalised, activity.inverse_std, du);
  return du;
}

// sums += column outer row
template <typename T>
void add_outer(const std::vector<T>& column, const std::vector<T>& row, Matrix<T> sums) {
  for (size_t i = 0; i < column.size(); ++i) {
    for (size_t j = 0; j < row.size(); ++j) sums.values[i * sums.stride + j] += column[i] * row[j];
  }
}

// Turns `grad`, the gradient with respect to the state after the step, into that before the step.
template <typename T>
void backpropagate_step(const FastWeightsBackwardParams<T>& p, int64_t t, int64_t b,
                        const StepRecord<T>& step, State<T>& grad) {
  const FastWeightsForwardParams<T>& f = p.forward;
  const int64_t H = f.extent.hidden;
  const int64_t row = t * f.extent.batch + b;
  std::vector<T> ds = grad.h;
  if (p.grad_output != nullptr) {
    for (int64_t i = 0; i < H; ++i) ds[i] += p.grad_output[row * H + i];
  }
  std::vector<T> dp(H, T(0));
  for (int64_t k = f.variant.inner_steps; k >= 0; --k) {
    const std::vector<T> du = backpropagate_activity(p, step.activity[k], ds);
    for (int64_t i = 0; i < H; ++i) dp[i] += du[i];
    if (k == 0) break;
    const std::vector<T>& s = step.activity[k - 1].s;
    add_outer(du, s, {grad.A.data(), H});
    std::fill(ds.begin(), ds.end(), T(0));
    add_transposed_product({step.A.data(), H}, du, ds);
    if (p.grad_energy == nullptr) continue;
    for (int64_t i = 0; i < H; ++i) {
      const T dE = p.grad_energy[row * H + i];
      for (int64_t j = 0; j < H; ++j) {
        const T A = step.A[i * H + j];
        grad.A[i * H + j] += dE * sign(A) * s[j] * s[j];
        ds[j] += dE * std::abs(A) * T(2) * s[j];
      }
    }
  }

  const int64_t inputs = f.extent.inputs;
  T* const grad_x = p.grad_x == nullptr ? nullptr : p.grad_x + row * inputs;
  backpropagate_input_projection<T>(f.extent, input_weights(f), f.x + row * inputs, dp,
                                    {p.grad_weight, inputs + H, p.grad_bias}, grad_x);
  if (p.grad_weight != nullptr) add_outer(dp, step.h, recurrent(f.extent, p.grad_weight));
  std::vector<T> sum(H, T(0));  // (dA + dA^T) h
  add_product({grad.A.data(), H}, step.h, sum);
  add_transposed_product({grad.A.data(), H}, step.h, sum);
  for (int64_t i = 0; i < H; ++i) grad.h[i] = static_cast<T>(f.variant.rate) * sum[i];
  add_transposed_product(recurrent(f.extent, f.weight), dp, grad.h);
  for (T& value : grad.A) value *= static_cast<T>(f.variant.decay);
  if (f.reset != nullptr && f.reset[row] != 0) {
    std::fill(grad.h.begin(), grad.h.end(), T(0));
    std::fill(grad.A.begin(), grad.A.end(), T(0));
  }
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
void fast_weights_forward_ref(const FastWeightsForwardParams<T>& p) {
  const int64_t H = p.extent.hidden;
  for (int64_t b = 0; b < p.extent.batch; ++b) {
    State<T> state = initial_state(p, b);
    for (int64_t t = 0; t < p.extent.steps; ++t) {
      const int64_t at = (t * p.extent.batch + b) * H;
      run_step(p, t, b, state, p.energy == nullptr ? nullptr : p.energy + at);
      copy_out(state.h, p.output + at);
      if (p.closed_loop != nullptr) p.closed_loop->after_step(t, b, 1, p.output + at);
    }
    if (p.final_A != nullptr) copy_out(state.A, p.final_A + b * H * H);
  }
}

template <typename T>
void fast_weights_backward_ref(const FastWeightsBackwardParams<T>& p) {
  const FastWeightsForwardParams<T>& f = p.forward;
  const int64_t H = f.extent.hidden;
  clear(p.grad_weight, H * (f.extent.inputs + H));
  clear(p.grad_bias, H);
  clear(p.grad_layer_norm_weight, H);
  clear(p.grad_layer_norm_bias, H);

  for (int64_t b = 0; b < f.extent.batch; ++b) {
    std::vector<StepRecord<T>> steps;
    State<T> state = initial_state(f, b);
    for (int64_t t = 0; t < f.extent.steps; ++t) {
      steps.push_back(run_step<T>(f, t, b, state, nullptr));
    }
    State<T> grad{std::vector<T>(H, T(0)), std::vector<T>(H * H, T(0))};
    if (p.grad_final_A != nullptr) std::copy_n(p.grad_final_A + b * H * H, H * H, grad.A.begin());
    for (int64_t t = f.extent.steps - 1; t >= 0; --t) backpropagate_step(p, t, b, steps[t], grad);
    if (p.grad_initial_h != nullptr) copy_out(grad.h, p.grad_initial_h + b * H);
    if (p.grad_initial_A != nullptr) copy_out(grad.A, p.grad_initial_A + b * H * H);
  }
}

template void fast_weights_forward_ref(const FastWeightsForwardParams<float>&);
template void fast_weights_forward_ref(const FastWeightsForwardParams<double>&);
template void fast_weights_backward_ref(const FastWeightsBackwardParams<float>&);
template void fast_weights_backward_ref(const FastWeightsBackwardParams<double>&);

}  // namespace stpn::kernels
