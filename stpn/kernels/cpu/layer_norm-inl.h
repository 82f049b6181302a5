// Layer norm of a group's presynaptic arrays, in either layout, each sample by itself. Compiled
// once for each SIMD target.

#if defined(STPN_KERNELS_CPU_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_LAYER_NORM_INL_H_
#undef STPN_KERNELS_CPU_LAYER_NORM_INL_H_
#else
#define STPN_KERNELS_CPU_LAYER_NORM_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/products-inl.h"
#include "stpn/kernels/layer_norm.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// For each sample the sum of value(j) over the presynaptic index, in all of the sample's lanes.
// value(j) returns a vector of values, zero in the padding.
template <class Layout, class Value>
HWY_INLINE typename Layout::V sum_over_fan_in(const Layout& layout, const Value& value) {
  typename Layout::V sum = hn::Zero(typename Layout::D());
  for (int64_t j = 0; j < layout.width; j += Layout::kColumns) sum = hn::Add(sum, value(j));
  return over_fan_in<Layout>(sum);
}

// Subtracts the mean, in place, and returns one over the standard deviation, which the caller still
// has to multiply by. `weights`, the same for all samples: 1 / fan-in, and 0 in the padding.
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE typename Layout::V centre(const Layout layout, const T* HWY_RESTRICT weights,
                                     T* HWY_RESTRICT values) {
  using V = typename Layout::V;
  const typename Layout::D d;
  const V part = hn::Set(d, weights[0]);
  const V sum = sum_over_fan_in(
      layout, [&](int64_t j) HWY_ATTR { return hn::Load(d, values + layout.presynaptic(0, j)); });
  const V squares = sum_over_fan_in(layout, [&](int64_t j) HWY_ATTR {
    T* HWY_RESTRICT at = values + layout.presynaptic(0, j);
    const V centred = hn::NegMulAdd(sum, common<Layout>(weights + j), hn::Load(d, at));
    hn::Store(centred, d, at);
    return hn::Mul(centred, centred);
  });
  const V epsilon = hn::Set(d, static_cast<T>(kLayerNormEpsilon));
  return hn::Div(hn::Set(d, T(1)), hn::Sqrt(hn::MulAdd(squares, part, epsilon)));
}

// In place: from the gradient of the normalised values to that of the values that were normalised.
template <class Layout, typename T = typename Layout::Value>
HWY_INLINE void back_through_normalise(const Layout layout, const T* HWY_RESTRICT weights,
                                       const T* HWY_RESTRICT normalised, typename Layout::V inverse,
                                       T* HWY_RESTRICT gradient) {
  using V = typename Layout::V;
  const typename Layout::D d;
  V sum = hn::Zero(d);
  V dot = hn::Zero(d);
  for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
    const V dn = hn::Load(d, gradient + layout.presynaptic(0, j));
    sum = hn::Add(sum, dn);
    dot = hn::MulAdd(dn, hn::LoadU(d, normalised + layout.presynaptic(0, j)), dot);
  }
  sum = over_fan_in<Layout>(sum);
  dot = hn::Mul(over_fan_in<Layout>(dot), hn::Set(d, weights[0]));
  for (int64_t j = 0; j < layout.width; j += Layout::kColumns) {
    T* HWY_RESTRICT at = gradient + layout.presynaptic(0, j);
    V du = hn::NegMulAdd(sum, common<Layout>(weights + j), hn::Load(d, at));
    du = hn::NegMulAdd(dot, hn::LoadU(d, normalised + layout.presynaptic(0, j)), du);
    hn::Store(hn::Mul(du, inverse), d, at);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
