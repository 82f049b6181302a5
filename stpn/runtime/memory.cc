#include "stpn/runtime/memory.h"

#include <algorithm>
#include <cmath>

#include "stpn/kernels/cpu/plan.h"  // kNormEpsilon
#include "stpn/kernels/layer_norm.h"

// The loops over a row are compiled for several processors, and the right one is chosen when the
// library is loaded. Sanitizers do not go with that.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define STPN_FOR_EACH_PROCESSOR \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define STPN_FOR_EACH_PROCESSOR
#endif

namespace stpn::runtime {
namespace {

using kernels::Activation;
using kernels::Connections;
using kernels::Norm;
using kernels::Presynaptic;
using kernels::Rule;

struct Sums {
  float dot, squares;  // G z and |G|^2 over some synapses of a row
};

STPN_FOR_EACH_PROCESSOR
Sums fixed_sums(const float* __restrict W, const float* __restrict z, int64_t count) {
  float dot = 0, squares = 0;
#pragma omp simd reduction(+ : dot, squares)
  for (int64_t j = 0; j < count; ++j) {
    dot += W[j] * z[j];
    squares += W[j] * W[j];
  }
  return {dot, squares};
}
STPN_FOR_EACH_PROCESSOR
Sums plastic_sums(const float* __restrict W, const float* __restrict F, const float* __restrict z,
                  int64_t count) {
  float dot = 0, squares = 0;
#pragma omp simd reduction(+ : dot, squares)
  for (int64_t j = 0; j < count; ++j) {
    const float G = W[j] + F[j];
    dot += G * z[j];
    squares += G * G;
  }
  return {dot, squares};
}

// kernels::clamped in a form that takes two instructions in a loop: in this order a NaN stays one.
inline float within(float bound, float value) {
  const float below = value > bound ? bound : value;
  return below < -bound ? -bound : below;
}

// F = clamp(Lambda F scale + Gamma h z). Returns |W + F|^2.
STPN_FOR_EACH_PROCESSOR
float update_row(const float* __restrict W, const float* __restrict lambda,
                 const float* __restrict gamma, const float* __restrict z, float h, float scale,
                 float bound, float* __restrict F, int64_t count) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < count; ++j) {
    const float value = lambda[j] * (F[j] * scale) + gamma[j] * (h * z[j]);
    F[j] = within(bound, value);
    squares += (W[j] + F[j]) * (W[j] + F[j]);
  }
  return squares;
}

STPN_FOR_EACH_PROCESSOR
void add_multiple(const float* __restrict from, float factor, float* __restrict to, int64_t count) {
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) to[j] += factor * from[j];
}
STPN_FOR_EACH_PROCESSOR
void multiply(float factor, float* __restrict values, int64_t count) {
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) values[j] *= factor;
}

// Of the synapses without fast weights, before and after those of a row that have them.
Sums sums_around(const float* W, const float* z, int64_t first, int64_t after, int64_t end) {
  Sums sums{0, 0};
  if (first > 0) sums = fixed_sums(W, z, first);
  if (after < end) {
    const Sums behind = fixed_sums(W + after, z + after, end - after);
    sums = {sums.dot + behind.dot, sums.squares + behind.squares};
  }
  return sums;
}

float inverse_root(float squares) {
  return 1 / (std::sqrt(squares) + static_cast<float>(kernels::kNormEpsilon));
}

}  // namespace

Memory::Memory(const Network& network)
    : network_(network),
      H_(network.extent.hidden),
      N_(fan_in(network.extent, network.variant)),
      P_(plastic_fan_in(network.extent, network.variant)),
      first_(first_plastic_input(network.extent, network.variant)),
      h_(H_),
      F_(H_ * P_),
      beta_(network.variant.plastic_bias ? H_ : 0),
      z_(N_),
      hebbian_(P_),
      new_h_(H_),
      growth_(H_),
      gate_(H_),
      scale_(H_, 1.0F) {}

void Memory::reset() {
  for (std::vector<float>* values : {&h_, &F_, &beta_}) {
    std::fill(values->begin(), values->end(), 0.0F);
  }
}

void Memory::step(const float* x) {
  std::copy_n(x, network_.extent.inputs, z_.begin());
  if (network_.variant.recurrent)
    std::copy(h_.begin(), h_.end(), z_.begin() + network_.extent.inputs);
  preactivations();
  if (network_.variant.layer_norm) normalise_layer();
  for (float& h : new_h_) h = activate(network_.variant.activation, h);
  keep_activity();
  std::copy(new_h_.begin(), new_h_.end(), h_.begin());  // callers keep the pointer
  presynaptic_terms();
  gate_update();
  update();
}

// A gate, into gate_. False if the unit does not have it.
bool Memory::compute(const Gate& gate) {
  if (gate.weight.empty()) return false;
  const int64_t columns = static_cast<int64_t>(gate.weight.size()) / H_;
  for (int64_t i = 0; i < H_; ++i) {
    const float u = fixed_sums(gate.weight.data() + i * columns, z_.data(), columns).dot;
    gate_[i] = activate(Activation::sigmoid, u + gate.bias[i]);
  }
  return true;
}

// The update gate.
void Memory::keep_activity() {
  if (!compute(network_.update_gate)) return;
  for (int64_t i = 0; i < H_; ++i) new_h_[i] += gate_[i] * (h_[i] - new_h_[i]);
}

// What the update multiplies the presynaptic term and F by.
void Memory::gate_update() {
  std::copy(h_.begin(), h_.end(), growth_.begin());
  if (compute(network_.write_gate)) {
    for (int64_t i = 0; i < H_; ++i) growth_[i] *= 2 * gate_[i];
  }
  if (compute(network_.decay_gate)) {
    for (int64_t i = 0; i < H_; ++i) scale_[i] *= gate_[i];
  }
}

// G z / n + b + beta into new_h_, and what the update multiplies F by.
void Memory::preactivations() {
  const int64_t after = first_ + P_;
  for (int64_t i = 0; i < H_; ++i) {
    const float* W = network_.weight.data() + i * N_;
    const Sums plastic = plastic_sums(W + first_, F_.data() + i * P_, z_.data() + first_, P_);
    const Sums fixed = sums_around(W, z_.data(), first_, after, N_);
    const float inverse =
        network_.variant.norm == Norm::none ? 1 : inverse_root(plastic.squares + fixed.squares);
    if (network_.variant.norm == Norm::pre) scale_[i] = inverse;
    new_h_[i] = (plastic.dot + fixed.dot) * inverse + network_.bias[i];
    if (!beta_.empty()) new_h_[i] += beta_[i];
  }
}

void Memory::normalise_layer() {
  kernels::normalise(new_h_);
  for (int64_t i = 0; i < H_; ++i) {
    new_h_[i] = new_h_[i] * network_.layer_norm_weight[i] + network_.layer_norm_bias[i];
  }
}

void Memory::presynaptic_terms() {
  const auto& v = network_.variant;
  std::copy_n(z_.begin() + first_, P_, hebbian_.begin());
  if (v.recurrent && v.presynaptic == Presynaptic::current && v.connections != Connections::input) {
    std::copy(h_.begin(), h_.end(), hebbian_.begin() + (network_.extent.inputs - first_));
  }
  if (v.rule != Rule::oja) return;
  for (int64_t i = 0; i < H_; ++i) {
    add_multiple(F_.data() + i * P_, -h_[i] * scale_[i], hebbian_.data(), P_);
  }
}

void Memory::update() {
  const auto& v = network_.variant;
  const auto bound = static_cast<float>(v.clamp);
  const int64_t after = first_ + P_;
  for (int64_t i = 0; i < H_; ++i) {
    const int64_t k = i * P_;
    const float* W = network_.weight.data() + i * N_;
    float squares = update_row(W + first_, network_.lambda.data() + k, network_.gamma.data() + k,
                               hebbian_.data(), growth_[i], scale_[i], bound, F_.data() + k, P_);
    if (v.norm == Norm::post) {
      squares += sums_around(W, z_.data(), first_, after, N_).squares;
      multiply(inverse_root(squares), F_.data() + k, P_);
    }
  }
  for (size_t i = 0; i < beta_.size(); ++i) {
    const float value = network_.bias_lambda[i] * beta_[i] + network_.bias_gamma[i] * h_[i];
    beta_[i] = within(bound, value);
  }
}

void Memory::output(const Head& head, float* out) const {
  for (int64_t k = 0; k < head.size; ++k) {
    out[k] = head.bias[k] + fixed_sums(head.weight.data() + k * H_, h_.data(), H_).dot;
  }
}

}  // namespace stpn::runtime
