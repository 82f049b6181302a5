#include "stpn/nn/models/agent_heads.h"

#include <array>

namespace stpn::nn {
namespace {

// In several partial sums, which the compiler computes at once.
template <typename T>
T dot(const T* a, const T* b, int64_t count) {
  std::array<T, 8> sums{};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  for (; i < count; ++i) sums[0] += a[i] * b[i];
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

template <typename T>
void add_scaled(T scale, const T* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += scale * from[i];
}

template <typename T>
void run_forward(const torch::Tensor& h, const torch::Tensor& weight, const torch::Tensor& bias,
                 torch::Tensor outputs) {
  const int64_t rows = outputs.numel() / weight.size(0), width = weight.size(0);
  const int64_t H = weight.size(1);
  const T* const x = h.const_data_ptr<T>();
  const T* const w = weight.const_data_ptr<T>();
  const T* const b = bias.const_data_ptr<T>();
  double* const o = outputs.data_ptr<double>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < width; ++k) {
      o[row * width + k] = static_cast<double>(b[k] + dot(x + row * H, w + k * H, H));
    }
  }
}

template <typename T>
void run_backward(const torch::Tensor& h, const torch::Tensor& weight,
                  const torch::Tensor& d_outputs, torch::Tensor d_h, torch::Tensor d_weight,
                  torch::Tensor d_bias) {
  const int64_t rows = d_outputs.numel() / weight.size(0), width = weight.size(0);
  const int64_t H = weight.size(1);
  const T* const x = h.const_data_ptr<T>();
  const T* const w = weight.const_data_ptr<T>();
  const double* const slopes = d_outputs.const_data_ptr<double>();
  T* const dx = d_h.data_ptr<T>();
  T* const dw = d_weight.data_ptr<T>();
  T* const db = d_bias.data_ptr<T>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < width; ++k) {
      const T slope = static_cast<T>(slopes[row * width + k]);
      add_scaled(slope, w + k * H, H, dx + row * H);
      add_scaled(slope, x + row * H, H, dw + k * H);
      db[k] += slope;
    }
  }
}

}  // namespace

AgentHeads::AgentHeads(const Agent& agent)
    : parameters_({agent.policy_head().weight(), agent.policy_head().bias(),
                   agent.value_head().weight, agent.value_head().bias}) {}

void AgentHeads::forward(const torch::Tensor& h, torch::Tensor outputs, torch::Tensor value) const {
  const torch::Tensor dense = h.contiguous();
  const bool single = dense.scalar_type() == torch::kFloat;
  const auto run = single ? run_forward<float> : run_forward<double>;
  run(dense, parameters_[0], parameters_[1], std::move(outputs));
  run(dense, parameters_[2], parameters_[3], std::move(value));
}

AgentHeads::Gradients AgentHeads::backward(const torch::Tensor& h, const torch::Tensor& d_outputs,
                                           const torch::Tensor& d_value) const {
  const torch::Tensor dense = h.contiguous();
  Gradients gradients{torch::zeros(dense.sizes(), dense.options()), {}};
  for (const torch::Tensor& parameter : parameters_) {
    gradients.parameters.push_back(torch::zeros(parameter.sizes(), dense.options()));
  }
  const auto& of = gradients.parameters;
  const bool single = dense.scalar_type() == torch::kFloat;
  const auto run = single ? run_backward<float> : run_backward<double>;
  run(dense, parameters_[0], d_outputs, gradients.h, of[0], of[1]);
  run(dense, parameters_[2], d_value, gradients.h, of[2], of[3]);
  return gradients;
}

}  // namespace stpn::nn
