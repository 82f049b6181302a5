#include <algorithm>
#include <cmath>
#include <vector>

#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/input_projection.h"
#include "stpn/kernels/layer_norm.h"

namespace stpn::kernels {
namespace {

// One of a step's S + 1 activations.
template <typename T>
struct Activity {
  std::vector<T> normalised;   // (H) before gain and offset
  T inverse_deviation = T(1);  //     of the layer norm
  std::vector<T> s;            // (H)
};

// What one step of one sample computes, all of it, so that backward only reads.
template <typename T>
struct Pass {
  std::vector<T> h;                   // (H)    before the step, after a reset
  std::vector<T> A;                   // (H, H) after its update
  std::vector<Activity<T>> activity;  // (S + 1)
};

template <typename T>
struct State {
  std::vector<T> h, A;
};

template <typename T>
State<T> initial_state(const FastWeightsForwardParams<T>& p, int64_t b) {
  const int64_t H = p.extent.hidden;
  return {{p.initial_h + b * H, p.initial_h + (b + 1) * H},
          {p.initial_A + b * H * H, p.initial_A + (b + 1) * H * H}};
}

template <typename T>
InputWeights<T> input_weights(const FastWeightsForwardParams<T>& p) {
  return {p.weight, p.extent.inputs + p.extent.hidden, p.bias};
}

// A (H, H) matrix within rows of `stride`.
template <typename T>
struct Matrix {
  T* values;
  int64_t stride;
};

// That of h in W.
template <typename T>
Matrix<T> recurrent(const Extent& extent, T* weight) {
  return {weight + extent.inputs, extent.inputs + extent.hidden};
}

// sums += matrix * values, or its transpose.
template <typename T>
void add_product(Matrix<const T> matrix, const std::vector<T>& values, std::vector<T>& sums) {
  for (size_t i = 0; i < sums.size(); ++i) {
    for (size_t j = 0; j < sums.size(); ++j) {
      sums[i] += matrix.values[i * matrix.stride + j] * values[j];
    }
  }
}
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
    activity.inverse_deviation = normalise(u);
    activity.normalised = u;
    for (int64_t i = 0; i < H; ++i) u[i] = u[i] * p.layer_norm_weight[i] + p.layer_norm_bias[i];
  }
  for (T& value : u) value = std::tanh(value);
  activity.s = std::move(u);
  return activity;
}

template <typename T>
Pass<T> run_step(const FastWeightsForwardParams<T>& p, int64_t t, int64_t b, State<T>& state, T* energy) {
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
  std::vector<T> slow = input_projection(p.extent, input_weights(p), p.x + row * p.extent.inputs);
  add_product(recurrent(p.extent, p.weight), state.h, slow);

  Pass<T> step{state.h, state.A, {activate(p, slow)}};
  if (energy != nullptr) std::fill_n(energy, H, T(0));
  for (int64_t k = 1; k <= p.variant.inner_steps; ++k) {
    const std::vector<T>& s = step.activity.back().s;
    for (int64_t i = 0; energy != nullptr && i < H; ++i) {
      for (int64_t j = 0; j < H; ++j) energy[i] += std::abs(step.A[i * H + j]) * s[j] * s[j];
    }
    std::vector<T> u = slow;
    add_product({step.A.data(), H}, s, u);
    step.activity.push_back(activate(p, std::move(u)));
  }
  state.h = step.activity.back().s;
  return step;
}

// From the gradient of one of a step's activations to that of what was summed up for it.
template <typename T>
std::vector<T> back_through_activity(const FastWeightsBackwardParams<T>& p, const Activity<T>& activity,
                                     std::vector<T> d) {
  const int64_t H = p.forward.extent.hidden;
  for (int64_t i = 0; i < H; ++i) d[i] *= T(1) - activity.s[i] * activity.s[i];
  if (!p.forward.variant.layer_norm) return d;
  for (int64_t i = 0; i < H; ++i) {
    if (p.grad_layer_norm_weight != nullptr) {
      p.grad_layer_norm_weight[i] += d[i] * activity.normalised[i];
    }
    if (p.grad_layer_norm_bias != nullptr) p.grad_layer_norm_bias[i] += d[i];
    d[i] *= p.forward.layer_norm_weight[i];
  }
  back_through_normalise(activity.normalised, activity.inverse_deviation, d);
  return d;
}

template <typename T>
void add_outer(const std::vector<T>& column, const std::vector<T>& row, Matrix<T> sums) {
  for (size_t i = 0; i < column.size(); ++i) {
    for (size_t j = 0; j < row.size(); ++j) sums.values[i * sums.stride + j] += column[i] * row[j];
  }
}

// `d`: from the gradient of the state after the step to that of the state before.
template <typename T>
void back_through_step(const FastWeightsBackwardParams<T>& p, int64_t t, int64_t b, const Pass<T>& step,
                       State<T>& d) {
  const FastWeightsForwardParams<T>& f = p.forward;
  const int64_t H = f.extent.hidden;
  const int64_t row = t * f.extent.batch + b;
  std::vector<T> d_s = d.h;
  if (p.grad_output != nullptr) {
    for (int64_t i = 0; i < H; ++i) d_s[i] += p.grad_output[row * H + i];
  }
  std::vector<T> d_slow(H, T(0));
  for (int64_t k = f.variant.inner_steps; k >= 0; --k) {
    const std::vector<T> du = back_through_activity(p, step.activity[k], d_s);
    for (int64_t i = 0; i < H; ++i) d_slow[i] += du[i];
    if (k == 0) break;
    add_outer(du, step.activity[k - 1].s, {d.A.data(), H});
    std::fill(d_s.begin(), d_s.end(), T(0));
    add_transposed_product({step.A.data(), H}, du, d_s);
  }

  const int64_t inputs = f.extent.inputs;
  T* const grad_x = p.grad_x == nullptr ? nullptr : p.grad_x + row * inputs;
  backpropagate_input_projection<T>(f.extent, input_weights(f), f.x + row * inputs, d_slow,
                              {p.grad_weight, inputs + H, p.grad_bias}, grad_x);
  if (p.grad_weight != nullptr) add_outer(d_slow, step.h, recurrent(f.extent, p.grad_weight));
  std::vector<T> learnt(H, T(0));
  add_product({d.A.data(), H}, step.h, learnt);
  add_transposed_product({d.A.data(), H}, step.h, learnt);
  for (int64_t i = 0; i < H; ++i) d.h[i] = static_cast<T>(f.variant.rate) * learnt[i];
  add_transposed_product(recurrent(f.extent, f.weight), d_slow, d.h);
  for (T& value : d.A) value *= static_cast<T>(f.variant.decay);
  if (f.reset != nullptr && f.reset[row] != 0) {
    std::fill(d.h.begin(), d.h.end(), T(0));
    std::fill(d.A.begin(), d.A.end(), T(0));
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
    copy_out(state.A, p.final_A + b * H * H);
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
    std::vector<Pass<T>> steps;
    State<T> state = initial_state(f, b);
    for (int64_t t = 0; t < f.extent.steps; ++t) {
      steps.push_back(run_step<T>(f, t, b, state, nullptr));
    }
    State<T> d{std::vector<T>(H, T(0)), std::vector<T>(H * H, T(0))};
    if (p.grad_final_A != nullptr) std::copy_n(p.grad_final_A + b * H * H, H * H, d.A.begin());
    for (int64_t t = f.extent.steps - 1; t >= 0; --t) back_through_step(p, t, b, steps[t], d);
    if (p.grad_initial_h != nullptr) copy_out(d.h, p.grad_initial_h + b * H);
    if (p.grad_initial_A != nullptr) copy_out(d.A, p.grad_initial_A + b * H * H);
  }
}

template void fast_weights_forward_ref(const FastWeightsForwardParams<float>&);
template void fast_weights_forward_ref(const FastWeightsForwardParams<double>&);
template void fast_weights_backward_ref(const FastWeightsBackwardParams<float>&);
template void fast_weights_backward_ref(const FastWeightsBackwardParams<double>&);

}  // namespace stpn::kernels
