// SIMD functions that the kernels of all units share: sums of lanes, transposition, activations.
// Compiled once for each SIMD target (Highway's foreach_target).

#if defined(STPN_KERNELS_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_CPU_VECTOR_MATH_INL_H_
#undef STPN_KERNELS_CPU_VECTOR_MATH_INL_H_
#else
#define STPN_KERNELS_CPU_VECTOR_MATH_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "stpn/kernels/activation.h"

// Put before a loop over a small constant number of vectors: unrolled, they stay in registers. Not
// with sanitizers, where it gains nothing and would take minutes to compile.
#undef STPN_UNROLL
#ifdef __SANITIZE_ADDRESS__
#define STPN_UNROLL
#else
#define STPN_UNROLL _Pragma("GCC unroll 16")
#endif

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Calls body(N, first) for tiles of N = kTile that make up `count`, with N = 1 for the last few; N
// is a std::integral_constant. `step` is the width of one.
template <int kTile, class Body>
HWY_INLINE void for_tiles(int64_t count, int64_t step, const Body& body) {
  int64_t first = 0;
  for (; first + kTile * step <= count; first += kTile * step) {
    body(std::integral_constant<int, kTile>(), first);
  }
  if constexpr (kTile > 1) {
    for (; first < count; first += step) body(std::integral_constant<int, 1>(), first);
  }
}

// *sum += value
template <class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE void add_to(D d, V value, T* HWY_RESTRICT sum) {
  hn::Store(hn::Add(hn::Load(d, sum), value), d, sum);
}

// The sum of all 128-bit blocks, in each block.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sum_of_blocks(D d, V v) {
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) >= 32) {
    v = hn::Add(v, hn::SwapAdjacentBlocks(v));
  }
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) >= 64) {
    v = hn::Add(v, hn::ReverseBlocks(d, v));
  }
  return v;
}

// Stores the lowest 128-bit block.
template <class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE void store_block(D d, V v, T* HWY_RESTRICT to) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) > 16) {
    const hn::Half<D> half;
    store_block(half, hn::LowerHalf(half, v), to);
  } else {
    hn::StoreU(v, d, to);
  }
}

// Stores the 128-bit blocks, `apart` values apart.
template <class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE void store_blocks(D d, V v, int64_t apart, T* HWY_RESTRICT to) {
  if constexpr (hn::MaxLanes(D()) * sizeof(T) > 16) {
    const hn::Half<D> half;
    constexpr int64_t kBlocks = hn::MaxLanes(half) * sizeof(T) / 16;
    store_blocks(half, hn::LowerHalf(half, v), apart, to);
    store_blocks(half, hn::UpperHalf(half, v), apart, to + kBlocks * apart);
  } else {
    hn::StoreU(v, d, to);
  }
}

// sums[s] = sum of the lanes of v[s]. Four float vectors together take 9 shuffles and additions,
// where each by itself would take 8.
template <int S, class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE void sums_of_lanes(D d, const V (&v)[S], T* HWY_RESTRICT sums) {
  if constexpr (S == 4 && sizeof(T) == 4) {
    const V even = hn::Add(hn::InterleaveLower(d, v[0], v[2]), hn::InterleaveUpper(d, v[0], v[2]));
    const V odd = hn::Add(hn::InterleaveLower(d, v[1], v[3]), hn::InterleaveUpper(d, v[1], v[3]));
    const V all = hn::Add(hn::InterleaveLower(d, even, odd), hn::InterleaveUpper(d, even, odd));
    store_block(d, sum_of_blocks(d, all), sums);
  } else if constexpr (S % 2 == 0 && sizeof(T) == 8) {
    for (int s = 0; s < S; s += 2) {
      const V pair =
          hn::Add(hn::InterleaveLower(d, v[s], v[s + 1]), hn::InterleaveUpper(d, v[s], v[s + 1]));
      store_block(d, sum_of_blocks(d, pair), sums + s);
    }
  } else {
    for (int s = 0; s < S; ++s) sums[s] = hn::GetLane(hn::SumOfLanes(d, v[s]));
  }
}

// Copies a few values, for which a call of memmove would cost more than the copy.
template <typename T>
HWY_INLINE void copy(const T* HWY_RESTRICT from, int64_t count, T* HWY_RESTRICT to) {
  const hn::ScalableTag<T> d;
  const int64_t lanes = hn::Lanes(d);
  if (count < lanes) {
    std::copy_n(from, count, to);
    return;
  }
  for (int64_t k = 0; k < count - lanes; k += lanes) hn::StoreU(hn::LoadU(d, from + k), d, to + k);
  hn::StoreU(hn::LoadU(d, from + count - lanes), d, to + count - lanes);
}

// Whether vectors can be loaded from this address and streamed to it.
template <typename T>
bool is_aligned(const T* values) {
  return reinterpret_cast<uintptr_t>(values) % (hn::MaxLanes(hn::ScalableTag<T>()) * sizeof(T)) ==
         0;
}

// Copies many values, in whole vectors, that are not read again soon: past the caches, if `to` is
// aligned as `from` is.
template <typename T>
HWY_INLINE void stream(const T* HWY_RESTRICT from, int64_t count, T* HWY_RESTRICT to) {
  const hn::ScalableTag<T> d;
  const int64_t lanes = hn::Lanes(d);
  if (!is_aligned(to)) {
    std::copy_n(from, count, to);
    return;
  }
  for (int64_t k = 0; k < count; k += lanes) hn::Stream(hn::Load(d, from + k), d, to + k);
  hwy::FlushStream();
}

// Transposes a block of as many rows as 16 bytes hold values, and as many columns as D has lanes.
template <class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE void transpose_rows(D d, const T* HWY_RESTRICT from, int64_t from_stride,
                               T* HWY_RESTRICT to, int64_t to_stride) {
  constexpr int64_t kRows = 16 / sizeof(T);
  const V a = hn::LoadU(d, from);
  const V b = hn::LoadU(d, from + from_stride);
  // Stores the columns first, first + kRows, first + 2 kRows ...
  const auto store = [&](auto columns, int64_t first) HWY_ATTR {
    store_blocks(d, columns, kRows * to_stride, to + first * to_stride);
  };
  if constexpr (sizeof(T) == 8) {
    store(hn::InterleaveLower(d, a, b), 0);
    store(hn::InterleaveUpper(d, a, b), 1);
  } else {
    const hn::RepartitionToWide<decltype(hn::RebindToUnsigned<D>())> wide;
    const V c = hn::LoadU(d, from + 2 * from_stride);
    const V e = hn::LoadU(d, from + 3 * from_stride);
    const auto upper = [&](V x, V y)
                           HWY_ATTR { return hn::BitCast(wide, hn::InterleaveUpper(d, x, y)); };
    const auto lower = [&](V x, V y)
                           HWY_ATTR { return hn::BitCast(wide, hn::InterleaveLower(d, x, y)); };
    store(hn::BitCast(d, hn::InterleaveLower(wide, lower(a, b), lower(c, e))), 0);
    store(hn::BitCast(d, hn::InterleaveUpper(wide, lower(a, b), lower(c, e))), 1);
    store(hn::BitCast(d, hn::InterleaveLower(wide, upper(a, b), upper(c, e))), 2);
    store(hn::BitCast(d, hn::InterleaveUpper(wide, upper(a, b), upper(c, e))), 3);
  }
}

// to[c][r] = from[r][c]; rows are `from_stride` and `to_stride` values apart.
template <typename T>
HWY_INLINE void transpose(const T* HWY_RESTRICT from, int64_t from_stride, int64_t rows,
                          int64_t columns, T* HWY_RESTRICT to, int64_t to_stride) {
  constexpr int64_t kRows = 16 / sizeof(T);
  const hn::ScalableTag<T> d;
  const hn::CappedTag<T, kRows> block;
  if (rows < kRows || columns < kRows) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    }
    return;
  }
  // The last blocks overlap those before them where rows or columns are no multiple of a block.
  for (int64_t first = 0; first < rows; first += kRows) {
    const int64_t r = std::min(first, rows - kRows);
    int64_t c = 0;
    for (; c + static_cast<int64_t>(hn::Lanes(d)) <= columns; c += hn::Lanes(d)) {
      transpose_rows(d, from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
    for (; c < columns; c += kRows) {
      c = std::min(c, columns - kRows);
      transpose_rows(block, from + r * from_stride + c, from_stride, to + c * to_stride + r,
                     to_stride);
    }
  }
}

// The maximum or minimum of a limit and a value; NaN where the value is. On x86 that is what the
// instruction does: where one operand is NaN, it returns the second. Other processors differ.
template <class V>
HWY_INLINE V at_least(V limit, V value) {
  const V result = hn::Max(limit, value);
  return HWY_ARCH_X86 ? result : hn::IfThenElse(hn::IsNaN(value), value, result);
}
template <class V>
HWY_INLINE V at_most(V limit, V value) {
  const V result = hn::Min(limit, value);
  return HWY_ARCH_X86 ? result : hn::IfThenElse(hn::IsNaN(value), value, result);
}
// Clamped to [-bound, bound], and its gradient: as in stpn/kernels/comparisons.h.
template <class V>
HWY_INLINE V clamped(V value, V bound) {
  return at_most(bound, at_least(hn::Neg(bound), value));
}
template <class V>
HWY_INLINE V through_clamp(V value, V bound, V gradient) {
  return hn::IfThenZeroElse(hn::Gt(hn::Abs(value), bound), gradient);
}

// 1 / (1 + exp(-x)). Highway's Exp gives 0 for NaN, and is defined up to 104 (float) or 706 only.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  using T = hn::TFromD<D>;
  const V one = hn::Set(d, T(1));
  const V lowest = hn::Set(d, sizeof(T) == 4 ? T(-104) : T(-706));
  const V value = hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(hn::Max(lowest, x)))));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenZeroElse(hn::Lt(x, lowest), value));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V activate(D d, Activation activation, V preactivation) {
  switch (activation) {
    case Activation::tanh:
      return hn::Tanh(d, preactivation);
    case Activation::sigmoid:
      return sigmoid(d, preactivation);
    case Activation::relu:
      return at_least(hn::Zero(d), preactivation);
    case Activation::identity:
      break;
  }
  return preactivation;
}

// The derivative of the activation, from its value.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V activation_slope(D d, Activation activation, V activity) {
  using T = hn::TFromD<D>;
  const V one = hn::Set(d, T(1));
  switch (activation) {
    case Activation::tanh:
      return hn::NegMulAdd(activity, activity, one);
    case Activation::sigmoid:
      return hn::Mul(activity, hn::Sub(one, activity));
    case Activation::relu:
      // 0 times the activity: NaN where it is.
      return hn::IfThenElse(hn::Gt(activity, hn::Zero(d)), one, hn::Mul(hn::Zero(d), activity));
    case Activation::identity:
      break;
  }
  return one;
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
