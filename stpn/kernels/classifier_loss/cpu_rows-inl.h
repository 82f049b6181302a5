// The CPU kernel of a classifier's loss: a few rows at a time, from their logits to their share of
// all gradients. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_CLASSIFIER_LOSS_CPU_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CLASSIFIER_LOSS_CPU_ROWS_INL_H_
#undef STPN_KERNELS_CLASSIFIER_LOSS_CPU_ROWS_INL_H_
#else
#define STPN_KERNELS_CLASSIFIER_LOSS_CPU_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "stpn/kernels/classifier_loss/equations.h"
#include "stpn/kernels/cpu/matrices/padding.h"
#include "stpn/kernels/cpu/matrices/products-inl.h"
#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {

template <typename T>
class ClassifierLossRows {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;

 public:
  explicit ClassifierLossRows(const ClassifierLossParams<T>& p)
      : p_(p),
        hidden_(padded_row<T>(p.hidden)),
        classes_(padded_row<T>(p.classes)),
        scratch_(2 * p.classes * hidden_ + p.hidden * classes_ + 2 * classes_ + hidden_ +
                 kRows * (2 * hidden_ + classes_)) {
    T* next = scratch_.get();
    const auto take = [&](int64_t count) {
      T* const taken = next;
      next += count;
      return taken;
    };
    weight_ = take(p.classes * hidden_);
    grad_weight_ = take(p.classes * hidden_);
    by_input_ = take(p.hidden * classes_);
    bias_ = take(classes_);
    grad_bias_ = take(classes_);
    zeros_ = take(hidden_);
    y_ = take(kRows * hidden_);
    grad_y_ = take(kRows * hidden_);
    slope_ = take(kRows * classes_);
  }

  double run() {
    pack();
    int64_t rows[kRows];
    int count = 0;
    for (int64_t n = 0; n < p_.rows; ++n) {
      if (p_.target[n] < 0) {
        std::fill_n(p_.grad_y + n * p_.hidden, p_.hidden, T(0));
        continue;
      }
      rows[count++] = n;
      if (count < kRows) continue;
      run_rows(rows, kRows);
      count = 0;
    }
    if (count > 0) run_rows(rows, count);
    for (int64_t c = 0; c < p_.classes; ++c) {
      std::copy_n(grad_weight_ + c * hidden_, p_.hidden, p_.grad_weight + c * p_.hidden);
    }
    std::copy_n(grad_bias_, p_.classes, p_.grad_bias);
    return loss_;
  }

 private:
  static constexpr int kRows = 4;  // at a time

  // Padded parameters, by class and by input, and sums of zeros.
  void pack() {
    const int64_t H = p_.hidden, C = p_.classes;
    std::fill_n(by_input_, H * classes_, T(0));
    for (int64_t c = 0; c < C; ++c) {
      T* const row = weight_ + c * hidden_;
      std::copy_n(p_.weight + c * H, H, row);
      std::fill_n(row + H, hidden_ - H, T(0));
      for (int64_t i = 0; i < H; ++i) by_input_[i * classes_ + c] = row[i];
    }
    std::copy_n(p_.bias, C, bias_);
    // Improbable: what pads the classes.
    std::fill_n(bias_ + C, classes_ - C, -std::numeric_limits<T>::infinity());
    std::fill_n(grad_weight_, C * hidden_, T(0));
    std::fill_n(grad_bias_, classes_, T(0));
    std::fill_n(zeros_, hidden_, T(0));
    std::fill_n(y_, kRows * hidden_, T(0));
  }

  // At most kRows of them.
  void run_rows(const int64_t* rows, int count) {
    const int64_t H = p_.hidden;
    for (int r = 0; r < count; ++r) std::copy_n(p_.y + rows[r] * H, H, y_ + r * hidden_);
    multiply(y_, hidden_, H, by_input_, classes_, bias_, slope_, count);
    for (int r = 0; r < count; ++r) {
      T* const slope = slope_ + r * classes_;
      loss_ += p_.classes == 1 ? differentiate_one(slope, p_.target[rows[r]])
                               : differentiate(slope, p_.target[rows[r]]);
    }
    multiply(slope_, classes_, p_.classes, weight_, hidden_, zeros_, grad_y_, count);
    for (int r = 0; r < count; ++r) std::copy_n(grad_y_ + r * hidden_, H, p_.grad_y + rows[r] * H);
    add_to_sums(count);
  }

  // Rows of `to` = those of `initial`, all the same, + those of `factors` times a matrix of `inner`
  // rows, `width` values each.
  static void multiply(const T* factors, int64_t stride, int64_t inner, const T* matrix,
                       int64_t width, const T* initial, T* to, int count) {
    HWY_NAMESPACE::multiply<T>({.factors = {factors, stride},
                                .blocks = 1,
                                .block = inner,
                                .block_stride = inner,
                                .matrix = {matrix, width},
                                .initial = {initial, 0},
                                .out = {to, width}},
                               count, width);
  }

  // Replaces the logits of a row by `scale` times the gradient with respect to them. Returns the
  // loss.
  double differentiate(T* HWY_RESTRICT logits, int64_t target) const {
    const D d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    V most = hn::Load(d, logits);
    for (int64_t c = lanes; c < classes_; c += lanes) {
      most = hn::Max(most, hn::Load(d, logits + c));
    }
    const T largest = hn::GetLane(hn::MaxOfLanes(d, most));
    const T of_target = logits[target];
    V sums = hn::Zero(d);
    for (int64_t c = 0; c < classes_; c += lanes) {
      // Far enough below for 0, and within the range of Highway's Exp, which gives 0 for NaN too.
      const V below =
          at_least(hn::Set(d, T(-1000)), hn::Sub(hn::Load(d, logits + c), hn::Set(d, largest)));
      const V share = hn::IfThenElse(hn::IsNaN(below), below, hn::Exp(d, below));
      hn::Store(share, d, logits + c);
      sums = hn::Add(sums, share);
    }
    const T sum = hn::GetLane(hn::SumOfLanes(d, sums));
    const V factor = hn::Set(d, static_cast<T>(p_.scale) / sum);
    for (int64_t c = 0; c < classes_; c += lanes) {
      hn::Store(hn::Mul(hn::Load(d, logits + c), factor), d, logits + c);
    }
    logits[target] -= static_cast<T>(p_.scale);
    return static_cast<double>(std::log(sum) - (of_target - largest));
  }
  double differentiate_one(T* HWY_RESTRICT logit, int64_t target) const {
    const T l = logit[0], yes = static_cast<T>(target);
    std::fill_n(logit, classes_, T(0));
    logit[0] = static_cast<T>(p_.scale) * (1 / (1 + std::exp(-l)) - yes);
    return static_cast<double>(std::max(l, T(0)) + std::log1p(std::exp(-std::abs(l))) - yes * l);
  }

  // Adds the rows' share of the gradients of weight and bias.
  void add_to_sums(int count) {
    const D d;
    const T* slopes[kRows];
    for (int r = 0; r < count; ++r) slopes[r] = slope_ + r * classes_;
    for (int64_t c = 0; c < classes_; c += static_cast<int64_t>(hn::Lanes(d))) {
      V sum = hn::Load(d, slope_ + c);
      for (int r = 1; r < count; ++r) sum = hn::Add(sum, hn::Load(d, slopes[r] + c));
      add_to(d, sum, grad_bias_ + c);
    }
    add_outer_products<2>(slopes, p_.classes, {y_, hidden_}, count, 0, hidden_,
                          StridedRows<T>{grad_weight_, hidden_});
  }

  const ClassifierLossParams<T>& p_;
  const int64_t hidden_, classes_;  // H and C, padded
  double loss_ = 0;
  ScratchArray<T> scratch_;
  T *weight_, *grad_weight_;  // (C, hidden_)
  T* by_input_;               // (H, classes_): the weight transposed
  T *bias_, *grad_bias_;      // (classes_)
  T* zeros_;                  // (hidden_)
  T *y_, *grad_y_;            // (kRows, hidden_)
  T* slope_;                  // (kRows, classes_): logits, then the gradient with respect to them
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
