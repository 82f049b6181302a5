// Layer norm of the STPN's pre-activation u, over the neurons of each sample. Not with neuron
// blocks, whose neurons are independent of each other. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_
#undef STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/layer_norm.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Layout>
class StpnLayerNorm {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;

 public:
  StpnLayerNorm(const PlasticPlan<T>& plan, const StpnForwardParams<T>& call)
      : hidden_(plan.hidden), neurons_(plan.neurons(S)), arrays_(5, neurons_) {
    repeat_for_samples<S>(call.layer_norm_weight, hidden_, gain());
    repeat_for_samples<S>(call.layer_norm_bias, hidden_, offset());
    std::fill_n(present(), hidden_ * S, T(1));
  }

  // Normalises u in place and applies gain and offset. Writes what backward reads, unless null: the
  // neuron values before gain and offset, and for each sample one over its standard deviation.
  void forward(T* HWY_RESTRICT u, T* HWY_RESTRICT normalised, T* HWY_RESTRICT inverses) const {
    const D d;
    T sums[S];
    sums_over_neurons<Layout>(
        neurons_, [&](int64_t k) HWY_ATTR { return hn::Load(d, u + k); }, sums);
    const auto mean = means(sums);
    sums_over_neurons<Layout>(
        neurons_,
        [&](int64_t k) HWY_ATTR {
          const V centred = if_present(k, hn::Sub(hn::Load(d, u + k), mean.at(k)));
          hn::Store(centred, d, u + k);
          return hn::Mul(centred, centred);
        },
        sums);
    PerSample<T, S> inverse;
    for (int s = 0; s < S; ++s) {
      const T variance = sums[s] / static_cast<T>(hidden_);
      const T value = T(1) / std::sqrt(variance + static_cast<T>(kLayerNormEpsilon));
      inverse.set(s, value);
      if (inverses != nullptr) inverses[s] = value;
    }
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      const V value = hn::Mul(hn::Load(d, u + k), inverse.at(k));
      if (normalised != nullptr) hn::StoreU(value, d, normalised + k);
      hn::Store(hn::MulAdd(value, hn::Load(d, gain() + k), hn::Load(d, offset() + k)), d, u + k);
    }
  }

  // In place, from the gradient of what forward() left to that of u; adds to the gradients of gain
  // and offset.
  void backpropagate(const T* HWY_RESTRICT normalised, const T* HWY_RESTRICT inverses,
                     T* HWY_RESTRICT du) const {
    const D d;
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      const V gradient = hn::Load(d, du + k);
      add_to(d, hn::Mul(gradient, hn::LoadU(d, normalised + k)), d_gain() + k);
      add_to(d, gradient, d_offset() + k);
      hn::Store(hn::Mul(gradient, hn::Load(d, gain() + k)), d, du + k);
    }
    T sums[S], dots[S];
    sums_over_neurons<Layout>(
        neurons_, [&](int64_t k) HWY_ATTR { return hn::Load(d, du + k); }, sums);
    sums_over_neurons<Layout>(
        neurons_,
        [&](int64_t k)
            HWY_ATTR { return hn::Mul(hn::Load(d, du + k), hn::LoadU(d, normalised + k)); },
        dots);
    const auto mean = means(sums);
    const auto dot = means(dots);
    PerSample<T, S> inverse;
    for (int s = 0; s < S; ++s) inverse.set(s, inverses[s]);
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      V gradient = hn::Sub(hn::Load(d, du + k), mean.at(k));
      gradient = hn::NegMulAdd(hn::LoadU(d, normalised + k), dot.at(k), gradient);
      hn::Store(if_present(k, hn::Mul(gradient, inverse.at(k))), d, du + k);
    }
  }

  void add_to_gradients(const Gradients<T>& gradients) const {
    for (int64_t i = 0; i < hidden_; ++i) {
      gradients.vector(kLayerNormWeight)[i] += sum_of_samples<S>(d_gain() + i * S);
      gradients.vector(kLayerNormBias)[i] += sum_of_samples<S>(d_offset() + i * S);
    }
  }

 private:
  PerSample<T, S> means(const T (&sums)[S]) const {
    PerSample<T, S> means;
    for (int s = 0; s < S; ++s) means.set(s, sums[s] / static_cast<T>(hidden_));
    return means;
  }
  // Zero in the padding, which the sums take in.
  HWY_INLINE V if_present(int64_t k, V value) const {
    const D d;
    return hn::IfThenElseZero(hn::Gt(hn::Load(d, present() + k), hn::Zero(d)), value);
  }
  T* gain() const { return arrays_[0]; }
  T* offset() const { return arrays_[1]; }
  T* present() const { return arrays_[2]; }  // 1, and 0 in the padding
  T* d_gain() const { return arrays_[3]; }
  T* d_offset() const { return arrays_[4]; }

  const int64_t hidden_, neurons_;
  const NeuronArrays<T> arrays_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
