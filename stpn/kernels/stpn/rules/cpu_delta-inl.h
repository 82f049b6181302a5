// Rule `delta` of the STPN (equations.h): what F learns, from the sums of a sweep, and back. It
// takes no sweep of its own: F z is G z - W z, and W z a projection with fixed weights (StpnGates).
// Not with neuron blocks. Compiled once for each SIMD target.

#if defined(STPN_KERNELS_STPN_RULES_CPU_DELTA_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_STPN_RULES_CPU_DELTA_INL_H_
#undef STPN_KERNELS_STPN_RULES_CPU_DELTA_INL_H_
#else
#define STPN_KERNELS_STPN_RULES_CPU_DELTA_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "stpn/kernels/cpu/layout-inl.h"
#include "stpn/kernels/stpn/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vector is of the neuron values from index k on.
template <class Layout>
class StpnWrittenValue {
  using T = typename Layout::Value;
  using D = typename Layout::D;
  using V = typename Layout::V;
  static constexpr int S = Layout::kSamples;

 public:
  StpnWrittenValue(const PlasticPlan<T>& plan, const StpnVariant& variant)
      : layout_(plan),
        variant_(variant),
        fan_in_(plan.fan_in),
        neurons_(plan.neurons(S)),
        arrays_(kArrays, neurons_) {}

  // What the growth is made of, and the growth without its gate.
  struct Parts {
    V value, recalled, growth;
  };

  // Takes the presynaptic array z of a step.
  void begin(const T* HWY_RESTRICT z) {
    for (int s = 0; s < S; ++s) {
      T squares = static_cast<T>(kSquaresEpsilon);
      for (int64_t j = 0; j < fan_in_; ++j) {
        const T value = z[layout_.value(s, j)];
        squares += value * value;
      }
      inverse_squares_.set(s, T(1) / squares);
    }
  }

  // From W z / n and G z / n.
  HWY_INLINE Parts forward(int64_t k, V slow, V preactivation, V bias) const {
    const D d;
    const V value = activate(d, variant_.activation, hn::Add(slow, bias));
    const V recalled = hn::Sub(preactivation, slow);
    return {value, recalled, hn::Mul(hn::Sub(value, recalled), inverse_squares_.at(k))};
  }

  // In place, from the gradient of the growth of step t, without its gate, to zero. Writes the
  // gradients of W z (`d_slow`), of F z and of -n, and adds to that of the bias.
  void backward(const SavedActivations<T, S>& saved, int64_t t, T* HWY_RESTRICT d_growth,
                T* HWY_RESTRICT d_slow, T* HWY_RESTRICT d_bias) {
    const D d;
    const int64_t first = saved_written(variant_);
    const auto load = [&](int64_t which, int64_t k)
                          HWY_ATTR { return hn::LoadU(d, saved.neurons(t, which) + k); };
    sums_over_neurons<Layout>(
        neurons_,
        [&](int64_t k) HWY_ATTR {
          const V gradient = hn::Mul(hn::Load(d, d_growth + k), inverse_squares_.at(k));
          const V recalled = load(first + 1, k);
          const V inverse = load(kSavedInverseNorm, k);
          const V slow = hn::Sub(load(kSavedPreactivation, k), recalled);
          const V slope = activation_slope(d, variant_.activation, load(first, k));
          const V du = hn::Mul(gradient, slope);
          add_to(d, du, d_bias + k);
          const V of_recalled = hn::Neg(hn::Mul(gradient, inverse));
          hn::Store(hn::MulSub(du, inverse, of_recalled), d, d_slow + k);
          hn::Store(of_recalled, d, arrays_[kOfRecalled] + k);
          const V of_norm = hn::MulSub(du, slow, hn::Mul(gradient, recalled));
          hn::Store(hn::Mul(of_norm, inverse), d, arrays_[kMinusOfNorm] + k);
          hn::Store(hn::Zero(d), d, d_growth + k);
          return hn::Mul(gradient, load(first + 2, k));
        },
        minus_of_squares_);
  }
  V of_recalled(int64_t k) const { return hn::Load(D(), arrays_[kOfRecalled] + k); }
  V minus_of_norm(int64_t k) const { return hn::Load(D(), arrays_[kMinusOfNorm] + k); }

  // Adds the gradient of z by way of |z|^2.
  void add_presynaptic_gradient(const T* HWY_RESTRICT z, T* HWY_RESTRICT dz) const {
    for (int s = 0; s < S; ++s) {
      const T factor = T(-2) * minus_of_squares_[s];
      for (int64_t j = 0; j < fan_in_; ++j) {
        dz[layout_.value(s, j)] += factor * z[layout_.value(s, j)];
      }
    }
  }

 private:
  enum Arrays { kOfRecalled, kMinusOfNorm, kArrays };

  const Layout layout_;
  const StpnVariant& variant_;
  const int64_t fan_in_, neurons_;
  const NeuronArrays<T> arrays_;
  PerSample<T, S> inverse_squares_;
  T minus_of_squares_[S] = {};
};

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
