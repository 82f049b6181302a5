// The plastic bias of the STPN, one value a neuron and sample. Compiled once for each SIMD target.
//
//   u[t] = ... + beta[t-1];   beta[t] = clamp(lambda beta[t-1] + gamma h[t], +-c)
//
// With decay after the update, `gamma` here is lambda gamma.

#if defined(STPN_KERNELS_STPN_CPU_PLASTIC_BIAS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_CPU_PLASTIC_BIAS_INL_H_
#undef STPN_KERNELS_STPN_CPU_PLASTIC_BIAS_INL_H_
#else
#define STPN_KERNELS_STPN_CPU_PLASTIC_BIAS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "stpn/kernels/cpu/gradient_sums-inl.h"
#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"
#include "stpn/kernels/stpn/equations.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Holds beta in the forward pass and its gradient in the backward pass. A vector is of the neuron
// values from index k on.
template <class Layout>
class StpnPlasticBias {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;

 public:
  StpnPlasticBias(const PlasticPlan<T>& plan, const StpnForwardParams<T>& call)
      : hidden_(plan.hidden),
        bound_(static_cast<T>(call.variant.clamp)),
        arrays_(5, plan.neurons(S)) {
    for (int64_t i = 0; i < hidden_; ++i) {
      const int64_t rate = call.variant.scalar_bias_rates ? 0 : i;
      const T growth = call.variant.decay == Decay::after_update ? call.bias_lambda[rate] : T(1);
      std::fill_n(lambda() + i * S, S, call.bias_lambda[rate]);
      std::fill_n(gamma() + i * S, S, growth * call.bias_gamma[rate]);
    }
  }

  T* values() const { return arrays_[0]; }
  V at(int64_t k) const { return hn::Load(D(), values() + k); }
  // A reset of sample s, for the neuron values [begin, end).
  void forget(int s, int64_t begin, int64_t end) const {
    for (int64_t k = begin + s; k < end; k += S) values()[k] = T(0);
  }

  void update(int64_t k, V h) const {
    const D d;
    const V bound = hn::Set(d, bound_);
    const V next = updated(k, at(k), h);
    hn::Store(clamped(next, bound), d, values() + k);
  }

  // Backpropagates the update of `beta` by h. Returns its part of the gradient of h.
  V backpropagate(int64_t k, V beta, V h) const {
    const D d;
    const V inside = through_clamp(updated(k, beta, h), hn::Set(d, bound_), at(k));
    add_to(d, hn::Mul(inside, beta), d_lambda() + k);
    add_to(d, hn::Mul(inside, h), d_gamma() + k);
    hn::Store(hn::Mul(inside, hn::Load(d, lambda() + k)), d, values() + k);
    return hn::Mul(inside, hn::Load(d, gamma() + k));
  }
  void add_preactivation(int64_t k, V du) const { add_to(D(), du, values() + k); }

  void add_to_gradients(const Gradients<T>& gradients) const {
    for (int64_t i = 0; i < hidden_; ++i) {
      gradients.vector(kBiasLambda)[i] += sum_of_samples<S>(d_lambda() + i * S);
      gradients.vector(kBiasGamma)[i] += sum_of_samples<S>(d_gamma() + i * S);
    }
  }

 private:
  // Before the clamp.
  V updated(int64_t k, V beta, V h) const {
    const D d;
    return hn::MulAdd(hn::Load(d, lambda() + k), beta, hn::Mul(hn::Load(d, gamma() + k), h));
  }
  T* lambda() const { return arrays_[1]; }
  T* gamma() const { return arrays_[2]; }
  T* d_lambda() const { return arrays_[3]; }
  T* d_gamma() const { return arrays_[4]; }

  const int64_t hidden_;
  const T bound_;
  const NeuronArrays<T> arrays_;
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
