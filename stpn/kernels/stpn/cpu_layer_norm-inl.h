// Layer norm of the STPN's drive, over the units of a sample: not in neuron_blocks, whose units do not
// hear each other. Compiled once a target.

#if defined(STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_
#undef STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_LAYER_NORM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "stpn/kernels/cpu/scratch_pool.h"
#include "stpn/kernels/layer_norm.h"
#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/stpn/equations.h"
#include "stpn/kernels/stpn/cpu_layout.h"

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
      : hidden_(plan.hidden), neurons_(plan.neurons(S)), memory_(5 * neurons_) {
    std::fill_n(memory_.get(), 5 * neurons_, T(0));
    for (int64_t i = 0; i < hidden_; ++i) {
      std::fill_n(gain() + i * S, S, call.layer_norm_weight[i]);
      std::fill_n(offset() + i * S, S, call.layer_norm_bias[i]);
      std::fill_n(present() + i * S, S, T(1));
    }
  }

  // In place, from u to what is activated. Leaves what backward reads, if not null: the normalised
  // unit values, and of each sample one over its deviation.
  void forward(T* HWY_RESTRICT u, T* HWY_RESTRICT normalised, T* HWY_RESTRICT inverses) const {
    const D d;
    T sums[S];
    sums_over_neurons<Layout>(
        neurons_, [&](int64_t k) HWY_ATTR { return hn::Load(d, u + k); }, sums);
    const auto mean = means(sums);
    sums_over_neurons<Layout>(
        neurons_,
        [&](int64_t k) HWY_ATTR {
          const V centred =
              hn::Mul(hn::Sub(hn::Load(d, u + k), mean.at(k)), hn::Load(d, present() + k));
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

  // In place, from the gradient of what forward made of u to that of u; adds to those of gain and
  // offset.
  void backpropagate(const T* HWY_RESTRICT normalised, const T* HWY_RESTRICT inverses,
            T* HWY_RESTRICT du) const {
    const D d;
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      const V gradient = hn::Load(d, du + k);
      add_to(d, hn::Mul(gradient, hn::LoadU(d, normalised + k)), d_gain() + k);
      add_to(d, gradient, d_offset() + k);
      hn::Store(hn::Mul(gradient, hn::Load(d, gain() + k)), d, du + k);
    }
    T sums[S], sums_along[S];
    sums_over_neurons<Layout>(
        neurons_, [&](int64_t k) HWY_ATTR { return hn::Load(d, du + k); }, sums);
    sums_over_neurons<Layout>(
        neurons_,
        [&](int64_t k)
            HWY_ATTR { return hn::Mul(hn::Load(d, du + k), hn::LoadU(d, normalised + k)); },
        sums_along);
    const auto mean = means(sums);
    const auto along = means(sums_along);
    PerSample<T, S> inverse;
    for (int s = 0; s < S; ++s) inverse.set(s, inverses[s]);
    for (int64_t k = 0; k < neurons_; k += hn::Lanes(d)) {
      V gradient = hn::Sub(hn::Load(d, du + k), mean.at(k));
      gradient = hn::NegMulAdd(hn::LoadU(d, normalised + k), along.at(k), gradient);
      gradient = hn::Mul(gradient, hn::Mul(inverse.at(k), hn::Load(d, present() + k)));
      hn::Store(gradient, d, du + k);
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
  // Unit values.
  T* gain() const { return memory_.get(); }
  T* offset() const { return gain() + neurons_; }
  T* present() const { return offset() + neurons_; }  // 1; 0 in padding
  T* d_gain() const { return present() + neurons_; }
  T* d_offset() const { return d_gain() + neurons_; }

  const int64_t hidden_, neurons_;
  const ScratchArray<T> memory_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
