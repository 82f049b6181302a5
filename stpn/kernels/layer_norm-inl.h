// Layer norm of the unit values [rows][S] of a group of S samples, each sample by itself. Compiled
// once a target.

#if defined(STPN_KERNELS_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_LAYER_NORM_INL_H_
#undef STPN_KERNELS_LAYER_NORM_INL_H_
#else
#define STPN_KERNELS_LAYER_NORM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "stpn/kernels/layer_norm.h"
#include "stpn/kernels/plastic_plan.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A value for each sample, repeated as the samples are in unit values.
template <typename T, int S>
struct PerSample {
  using D = hn::ScalableTag<T>;
  static constexpr int64_t kLanes = hn::MaxLanes(D());
  static constexpr int64_t kWidth = kLanes > S ? kLanes : S;
  static_assert(kWidth % S == 0 && kWidth % kLanes == 0);

  HWY_INLINE void set(int s, T value) {
    for (int64_t k = s; k < kWidth; k += S) values[k] = value;
  }
  // For the vector of unit values that begins at `unit`.
  HWY_INLINE hn::Vec<D> at(int64_t unit) const { return hn::Load(D(), values + unit % kWidth); }

  alignas(64) T values[kWidth];
};

// The mean of term(unit) over the `hidden` units of each sample; term gives the vector of values
// that begins there, zero where there is no unit.
template <typename T, int S, class Term>
HWY_INLINE PerSample<T, S> mean_over_units(const PlasticPlan<T>& plan, const Term& term) {
  using Mean = PerSample<T, S>;
  using D = typename Mean::D;
  constexpr int64_t kVectors = Mean::kWidth / Mean::kLanes;
  const D d;
  hn::Vec<D> sums[kVectors];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (int64_t unit = 0; unit < plan.units(S); unit += Mean::kWidth) {
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[v] = hn::Add(sums[v], term(unit + v * Mean::kLanes));
    }
  }
  Mean mean;
  for (int64_t v = 0; v < kVectors; ++v) hn::Store(sums[v], d, mean.values + v * Mean::kLanes);
  for (int s = 0; s < S; ++s) {
    T sum = T(0);
    for (int64_t k = s; k < Mean::kWidth; k += S) sum += mean.values[k];
    mean.set(s, sum / static_cast<T>(plan.hidden));
  }
  return mean;
}

// In place: minus the mean, divided by the deviation. Returns one over the deviation. `ones`: 1
// where there is a unit, else 0.
template <typename T, int S>
HWY_INLINE PerSample<T, S> normalise(const PlasticPlan<T>& plan, const T* HWY_RESTRICT ones,
                                     T* HWY_RESTRICT values) {
  using D = hn::ScalableTag<T>;
  const D d;
  const auto mean = mean_over_units<T, S>(
      plan, [&](int64_t unit) HWY_ATTR { return hn::Load(d, values + unit); });
  PerSample<T, S> inverse = mean_over_units<T, S>(plan, [&](int64_t unit) HWY_ATTR {
    const auto centred =
        hn::NegMulAdd(mean.at(unit), hn::Load(d, ones + unit), hn::Load(d, values + unit));
    hn::Store(centred, d, values + unit);
    return hn::Mul(centred, centred);
  });
  for (int64_t k = 0; k < inverse.kWidth; k += hn::Lanes(d)) {
    const auto variance = hn::Load(d, inverse.values + k);
    const auto floor = hn::Set(d, static_cast<T>(kLayerNormFloor));
    hn::Store(hn::Div(hn::Set(d, T(1)), hn::Sqrt(hn::Add(variance, floor))), d, inverse.values + k);
  }
  for (int64_t unit = 0; unit < plan.units(S); unit += hn::Lanes(d)) {
    hn::Store(hn::Mul(hn::Load(d, values + unit), inverse.at(unit)), d, values + unit);
  }
  return inverse;
}

// In place: from the gradient of what `normalise` left to that of what it was given. `normalised`
// and `inverse`, unit values, are what it left and returned.
template <typename T, int S>
HWY_INLINE void back_through_normalise(const PlasticPlan<T>& plan, const T* HWY_RESTRICT ones,
                                       const T* HWY_RESTRICT normalised,
                                       const T* HWY_RESTRICT inverse, T* HWY_RESTRICT gradient) {
  using D = hn::ScalableTag<T>;
  const D d;
  const auto mean = mean_over_units<T, S>(
      plan, [&](int64_t unit) HWY_ATTR { return hn::Load(d, gradient + unit); });
  const auto along = mean_over_units<T, S>(plan, [&](int64_t unit) HWY_ATTR {
    return hn::Mul(hn::Load(d, gradient + unit), hn::LoadU(d, normalised + unit));
  });
  for (int64_t unit = 0; unit < plan.units(S); unit += hn::Lanes(d)) {
    auto du = hn::Load(d, gradient + unit);
    du = hn::NegMulAdd(mean.at(unit), hn::Load(d, ones + unit), du);
    du = hn::NegMulAdd(along.at(unit), hn::LoadU(d, normalised + unit), du);
    hn::Store(hn::Mul(du, hn::LoadU(d, inverse + unit)), d, gradient + unit);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
