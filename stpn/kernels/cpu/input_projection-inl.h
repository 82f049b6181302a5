// Projections W z + b of a group of samples, with fixed weights, and their gradients: of any
// presynaptic inputs z, or of the inputs x[t]. Vectors run along the neurons, whatever the layout
// of the plastic matrices. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_CPU_INPUT_PROJECTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_INPUT_PROJECTION_INL_H_
#undef STPN_KERNELS_CPU_INPUT_PROJECTION_INL_H_
#else
#define STPN_KERNELS_CPU_INPUT_PROJECTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/group_loop-inl.h"
#include "stpn/kernels/cpu/parameters.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T, int S>
class Projection {
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  // Samples that share each load of W: as many as hide the latency of an addition.
  static constexpr int kTileSamples = std::min(S, 8);

 public:
  static int64_t size(const PlasticPlan<T>& plan) { return S * plan.padded(plan.hidden); }

  // `neurons`: memory of `size` values, zero at first.
  Projection(const PlasticPlan<T>& plan, const PaddedInputWeights<T>& weights, T* neurons)
      : weights_(weights),
        inputs_(weights.inputs()),
        width_(plan.padded(plan.hidden)),
        neurons_(neurons) {}

  // (S, width), a row of neurons a sample: the projection, or the gradient of it that backward
  // reads.
  T* neurons() const { return neurons_; }
  int64_t width() const { return width_; }

  // Below, z has a row a sample, `stride` values apart. Writes neurons().
  void forward(const T* z, int64_t stride) const {
    for (int s = 0; s < S; s += kTileSamples) forward_tile(z + s * stride, stride, s);
  }
  // Adds the gradients of W and b to `sums`, laid out as PaddedInputWeights is.
  void backward(const T* z, int64_t stride, T* sums) const {
    for (int s = 0; s < S; s += kTileSamples) backward_tile(z + s * stride, stride, s, sums);
  }
  // Writes the gradient of z, or adds to it.
  template <bool kAdd>
  void backpropagate(T* dz, int64_t stride) const {
    for (int s = 0; s < S; s += kTileSamples) inputs_tile<kAdd>(s, dz + s * stride, stride);
  }

 private:
  HWY_INLINE void forward_tile(const T* HWY_RESTRICT z, int64_t stride, int s) const {
    const D d;
    const int64_t inputs = inputs_;
    for (int64_t k = 0; k < width_; k += hn::Lanes(d)) {
      V preactivation[kTileSamples];
      STPN_UNROLL
      for (int b = 0; b < kTileSamples; ++b)
        preactivation[b] = hn::Load(d, weights_.row(inputs) + k);
      for (int64_t j = 0; j < inputs; ++j) {
        const V w = hn::Load(d, weights_.row(j) + k);
        STPN_UNROLL
        for (int b = 0; b < kTileSamples; ++b) {
          preactivation[b] = hn::MulAdd(w, hn::Set(d, z[b * stride + j]), preactivation[b]);
        }
      }
      STPN_UNROLL
      for (int b = 0; b < kTileSamples; ++b)
        hn::Store(preactivation[b], d, neurons_ + (s + b) * width_ + k);
    }
  }

  HWY_INLINE void backward_tile(const T* HWY_RESTRICT z, int64_t stride, int s,
                                T* HWY_RESTRICT sums) const {
    const D d;
    const int64_t inputs = inputs_;
    for (int64_t k = 0; k < width_; k += hn::Lanes(d)) {
      V du[kTileSamples];
      V of_bias = hn::Load(d, sums + inputs * width_ + k);
      STPN_UNROLL
      for (int b = 0; b < kTileSamples; ++b) {
        du[b] = hn::Load(d, neurons_ + (s + b) * width_ + k);
        of_bias = hn::Add(of_bias, du[b]);
      }
      hn::Store(of_bias, d, sums + inputs * width_ + k);
      for (int64_t j = 0; j < inputs; ++j) {
        V of_weight = hn::Load(d, sums + j * width_ + k);
        STPN_UNROLL
        for (int b = 0; b < kTileSamples; ++b) {
          of_weight = hn::MulAdd(du[b], hn::Set(d, z[b * stride + j]), of_weight);
        }
        hn::Store(of_weight, d, sums + j * width_ + k);
      }
    }
  }

  template <bool kAdd>
  HWY_INLINE void inputs_tile(int s, T* HWY_RESTRICT dz, int64_t stride) const {
    const D d;
    for (int64_t j = 0; j < inputs_; ++j) {
      V dots[kTileSamples];
      STPN_UNROLL
      for (int b = 0; b < kTileSamples; ++b) dots[b] = hn::Zero(d);
      for (int64_t k = 0; k < width_; k += hn::Lanes(d)) {
        const V w = hn::Load(d, weights_.row(j) + k);
        STPN_UNROLL
        for (int b = 0; b < kTileSamples; ++b) {
          dots[b] = hn::MulAdd(w, hn::Load(d, neurons_ + (s + b) * width_ + k), dots[b]);
        }
      }
      alignas(64) T sums[64 / sizeof(T)];
      sums_of_lanes<kTileSamples>(d, dots, sums);
      for (int b = 0; b < kTileSamples; ++b) {
        T& of_input = dz[b * stride + j];
        of_input = kAdd ? of_input + sums[b] : sums[b];
      }
    }
  }

  const PaddedInputWeights<T>& weights_;
  const int64_t inputs_, width_;
  T* const neurons_;
};

template <typename T, int S>
class InputProjection : public Projection<T, S> {
 public:
  static int64_t scratch(const PlasticPlan<T>& plan) { return Projection<T, S>::size(plan); }

  // x (T, B, I); `first`: the first sample of the group.
  InputProjection(const PlasticPlan<T>& plan, int64_t first, const T* x,
                  const PaddedInputWeights<T>& weights, Scratch<T>& scratch)
      : Projection<T, S>(plan, weights, scratch.take(this->size(plan))),
        first_(first),
        batch_(plan.batch),
        inputs_(weights.inputs()),
        x_(x) {}

  // As those of Projection, of step t; grad_x (T, B, I) is written unless it is null.
  void forward(int64_t t) const { Projection<T, S>::forward(x_ + place(t), inputs_); }
  void backward(int64_t t, T* sums, T* grad_x) const {
    Projection<T, S>::backward(x_ + place(t), inputs_, sums);
    if (grad_x != nullptr) {
      this->template backpropagate</*kAdd=*/false>(grad_x + place(t), inputs_);
    }
  }

 private:
  // Offset of the inputs of the group's first sample in a (T, B, I) array.
  int64_t place(int64_t t) const { return (t * batch_ + first_) * inputs_; }

  const int64_t first_, batch_, inputs_;
  const T* const x_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
