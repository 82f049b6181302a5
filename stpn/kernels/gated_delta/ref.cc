// The reference of the gated delta rule's memory: one memory after the other, all of its S kept.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "stpn/kernels/comparisons.h"
#include "stpn/kernels/gated_delta/equations.h"

namespace stpn::kernels {
namespace {

// What memory m reads at step t.
template <typename T>
struct Step {
  Step(const GatedDeltaForwardParams<T>& p, int64_t t, int64_t m)
      : place(t * p.extent.memories() + m),
        query(p.query + place * p.extent.key_size),
        key(p.key + place * p.extent.key_size),
        value(p.value + place * p.extent.value_size),
        decay(p.decay[place]),
        write(p.write[place]),
        is_reset(p.reset != nullptr && p.reset[t * p.extent.samples + m / p.extent.heads]) {}

  int64_t place;  // of the step and memory among all
  const T *query, *key, *value;
  T decay, write;
  bool is_reset;
};

template <typename T>
T dot(const T* a, const T* b, int64_t count) {
  T sum = 0;
  for (int64_t j = 0; j < count; ++j) sum += a[j] * b[j];
  return sum;
}

// S after the step, in place. Row i of what is read and of the energy go to their arrays, if given.
template <typename T>
void advance(const GatedDeltaForwardParams<T>& p, const Step<T>& step, T* S, T* read, T* energy) {
  const int64_t K = p.extent.key_size;
  for (int64_t i = 0; i < p.extent.value_size; ++i) {
    T* const row = S + i * K;
    if (step.is_reset) std::fill_n(row, K, T(0));
    if (energy != nullptr) {
      energy[i] = 0;
      for (int64_t j = 0; j < K; ++j) {
        energy[i] += std::abs(row[j]) * (step.key[j] * step.key[j] + step.query[j] * step.query[j]);
      }
    }
    const T error = step.write * (step.value[i] - step.decay * dot(row, step.key, K));
    for (int64_t j = 0; j < K; ++j) row[j] = step.decay * row[j] + error * step.key[j];
    if (read != nullptr) read[i] = dot(row, step.query, K);
  }
}

// The gradients of one step of a memory: from that of S after the step in `grad` to that of S
// before, in place. S: before the step, and before a reset.
template <typename T>
void step_back(const GatedDeltaBackwardParams<T>& p, const Step<T>& step, const T* S, T* grad) {
  const int64_t K = p.forward.extent.key_size, V = p.forward.extent.value_size;
  T* const grad_query = p.grad_query + step.place * K;
  T* const grad_key = p.grad_key + step.place * K;
  std::fill_n(grad_query, K, T(0));
  std::fill_n(grad_key, K, T(0));
  T grad_decay = 0, grad_write = 0;
  for (int64_t i = 0; i < V; ++i) {
    T* const g = grad + i * K;
    const auto before = [&](int64_t j) { return step.is_reset ? T(0) : S[i * K + j]; };
    T found = 0;
    for (int64_t j = 0; j < K; ++j) found += step.decay * before(j) * step.key[j];
    const T missing = step.value[i] - found;
    const T error = step.write * missing;
    const T grad_read = p.grad_read == nullptr ? T(0) : p.grad_read[step.place * V + i];
    T grad_error = 0;
    for (int64_t j = 0; j < K; ++j) {
      const T after = step.decay * before(j) + error * step.key[j];
      grad_query[j] += grad_read * after;
      g[j] += grad_read * step.query[j];
      grad_error += g[j] * step.key[j];
      grad_key[j] += g[j] * error;
    }
    const T grad_missing = grad_error * step.write;
    p.grad_value[step.place * V + i] = grad_missing;
    grad_write += grad_error * missing;
    const T spent = p.grad_energy == nullptr ? T(0) : p.grad_energy[step.place * V + i];
    for (int64_t j = 0; j < K; ++j) {
      const T of_decayed = g[j] - grad_missing * step.key[j];
      grad_key[j] -= grad_missing * step.decay * before(j);
      grad_decay += of_decayed * before(j);
      g[j] = of_decayed * step.decay;
      if (p.grad_energy != nullptr) {
        const T size = std::abs(before(j));
        g[j] +=
            spent * sign(before(j)) * (step.key[j] * step.key[j] + step.query[j] * step.query[j]);
        grad_key[j] += spent * size * 2 * step.key[j];
        grad_query[j] += spent * size * 2 * step.query[j];
      }
      if (step.is_reset) g[j] = 0;
    }
  }
  p.grad_decay[step.place] = grad_decay;
  p.grad_write[step.place] = grad_write;
}

}  // namespace

template <typename T>
void gated_delta_forward_ref(const GatedDeltaForwardParams<T>& p) {
  const int64_t V = p.extent.value_size, synapses = p.extent.synapses();
  for (int64_t m = 0; m < p.extent.memories(); ++m) {
    T* const S = p.final_state + m * synapses;
    std::copy_n(p.state + m * synapses, synapses, S);
    for (int64_t t = 0; t < p.extent.steps; ++t) {
      const Step<T> step(p, t, m);
      advance(p, step, S, p.read + step.place * V,
              p.energy == nullptr ? nullptr : p.energy + step.place * V);
    }
  }
}

template <typename T>
void gated_delta_backward_ref(const GatedDeltaBackwardParams<T>& p) {
  const GatedDeltaForwardParams<T>& f = p.forward;
  const int64_t synapses = f.extent.synapses();
  std::vector<T> states((f.extent.steps + 1) * synapses);
  for (int64_t m = 0; m < f.extent.memories(); ++m) {
    std::copy_n(f.state + m * synapses, synapses, states.data());
    for (int64_t t = 0; t < f.extent.steps; ++t) {
      T* const S = states.data() + (t + 1) * synapses;
      std::copy_n(S - synapses, synapses, S);
      advance<T>(f, Step<T>(f, t, m), S, nullptr, nullptr);
    }
    T* const grad = p.grad_state + m * synapses;
    std::fill_n(grad, synapses, T(0));
    if (p.grad_final_state != nullptr) {
      std::copy_n(p.grad_final_state + m * synapses, synapses, grad);
    }
    for (int64_t t = f.extent.steps - 1; t >= 0; --t) {
      step_back(p, Step<T>(f, t, m), states.data() + t * synapses, grad);
    }
  }
}

template void gated_delta_forward_ref(const GatedDeltaForwardParams<float>&);
template void gated_delta_forward_ref(const GatedDeltaForwardParams<double>&);
template void gated_delta_backward_ref(const GatedDeltaBackwardParams<float>&);
template void gated_delta_backward_ref(const GatedDeltaBackwardParams<double>&);

}  // namespace stpn::kernels
