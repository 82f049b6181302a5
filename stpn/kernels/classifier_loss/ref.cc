// The reference of a classifier's loss: one row after the other.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "stpn/kernels/classifier_loss/equations.h"

namespace stpn::kernels {
namespace {

// Replaces logits by the gradient with respect to them. Returns the loss.
template <typename T>
T differentiate(std::vector<T>& logits, int64_t target) {
  if (logits.size() == 1) {
    const T l = logits[0];
    logits[0] = 1 / (1 + std::exp(-l)) - static_cast<T>(target);
    // log(1 + exp(l)), without exp(l) where it would be large
    return std::max(l, T(0)) + std::log1p(std::exp(-std::abs(l))) - static_cast<T>(target) * l;
  }
  const T largest = *std::max_element(logits.begin(), logits.end());
  T sum = 0;
  for (const T l : logits) sum += std::exp(l - largest);
  const T loss = std::log(sum) - (logits[target] - largest);
  for (T& l : logits) l = std::exp(l - largest) / sum;
  logits[target] -= 1;
  return loss;
}

}  // namespace

template <typename T>
double classifier_loss_ref(const ClassifierLossParams<T>& p) {
  const int64_t H = p.hidden, C = p.classes;
  std::fill_n(p.grad_y, p.rows * H, T(0));
  std::fill_n(p.grad_weight, C * H, T(0));
  std::fill_n(p.grad_bias, C, T(0));
  double loss = 0;
  std::vector<T> d(C);
  for (int64_t n = 0; n < p.rows; ++n) {
    if (p.target[n] < 0) continue;
    const T* const y = p.y + n * H;
    for (int64_t c = 0; c < C; ++c) {
      d[c] = p.bias[c];
      for (int64_t i = 0; i < H; ++i) d[c] += p.weight[c * H + i] * y[i];
    }
    loss += static_cast<double>(differentiate(d, p.target[n]));
    for (int64_t c = 0; c < C; ++c) {
      const T slope = static_cast<T>(p.scale) * d[c];
      p.grad_bias[c] += slope;
      for (int64_t i = 0; i < H; ++i) {
        p.grad_y[n * H + i] += slope * p.weight[c * H + i];
        p.grad_weight[c * H + i] += slope * y[i];
      }
    }
  }
  return loss;
}

template double classifier_loss_ref(const ClassifierLossParams<float>&);
template double classifier_loss_ref(const ClassifierLossParams<double>&);

}  // namespace stpn::kernels
