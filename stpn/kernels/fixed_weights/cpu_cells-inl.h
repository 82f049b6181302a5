// What the neurons of one sample compute at one time step, and its derivative. Compiled once for
// each SIMD target.

#if defined(STPN_KERNELS_FIXED_WEIGHTS_CPU_CELLS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STPN_KERNELS_FIXED_WEIGHTS_CPU_CELLS_INL_H_
#undef STPN_KERNELS_FIXED_WEIGHTS_CPU_CELLS_INL_H_
#else
#define STPN_KERNELS_FIXED_WEIGHTS_CPU_CELLS_INL_H_
#endif

#include <hwy/highway.h>

#include "stpn/kernels/cpu/vector_math-inl.h"
#include "stpn/kernels/fixed_weights/cpu_layout.h"

HWY_BEFORE_NAMESPACE();
namespace stpn::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `slots`: the slots of the layout, p and q summed; afterwards what backward reads of them. Turns
// h, and c of an LSTM, into those after the step. All arrays are padded rows of `row` values.
template <Cell kCell, typename T>
HWY_INLINE void run_cell(int64_t row, T* HWY_RESTRICT slots, T* HWY_RESTRICT h, T* HWY_RESTRICT c) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  for (int64_t k = 0; k < row; k += hn::Lanes(d)) {
    const auto slot = [&](int64_t which) HWY_ATTR { return slots + which * row + k; };
    if constexpr (kCell == Cell::lstm) {
      const V i = sigmoid(d, hn::LoadU(d, slot(0)));
      const V f = sigmoid(d, hn::LoadU(d, slot(1)));
      const V g = hn::Tanh(d, hn::LoadU(d, slot(2)));
      const V o = sigmoid(d, hn::LoadU(d, slot(3)));
      const V new_c = hn::MulAdd(f, hn::Load(d, c + k), hn::Mul(i, g));
      hn::StoreU(i, d, slot(0));
      hn::StoreU(f, d, slot(1));
      hn::StoreU(g, d, slot(2));
      hn::StoreU(o, d, slot(3));
      hn::Store(new_c, d, c + k);
      hn::Store(hn::Mul(o, hn::Tanh(d, new_c)), d, h + k);
    } else if constexpr (kCell == Cell::gru) {
      const V r = sigmoid(d, hn::LoadU(d, slot(1)));
      const V u = sigmoid(d, hn::LoadU(d, slot(2)));
      const V q = hn::LoadU(d, slot(3));
      const V n = hn::Tanh(d, hn::MulAdd(r, q, hn::LoadU(d, slot(0))));
      hn::StoreU(n, d, slot(0));
      hn::StoreU(r, d, slot(1));
      hn::StoreU(u, d, slot(2));
      const V last = hn::Load(d, h + k);
      const V stays = hn::Mul(u, last);
      hn::Store(hn::MulAdd(hn::Sub(hn::Set(d, T(1)), u), n, stays), d, h + k);
    } else {
      hn::Store(hn::Tanh(d, hn::LoadU(d, slot(0))), d, h + k);
    }
  }
}

// `slots`: what run_cell left there. `state`: of an LSTM c[t-1], of a GRU h[t-1], of an RNN h[t].
// `c`: c[t] of an LSTM. Writes `grads`, the gradient of each slot. Turns dc into that of c[t-1],
// and dh, the gradient of h[t], into the part of that of h[t-1] that does not pass the weights.
template <Cell kCell, typename T>
HWY_INLINE void backpropagate_cell(int64_t row, const T* HWY_RESTRICT slots,
                                   const T* HWY_RESTRICT state, const T* HWY_RESTRICT c,
                                   T* HWY_RESTRICT grads, T* HWY_RESTRICT grad_h,
                                   T* HWY_RESTRICT grad_c) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const auto through_sigmoid = [d](V gradient, V value) HWY_ATTR {
    return hn::Mul(gradient, activation_slope(d, Activation::sigmoid, value));
  };
  const auto through_tanh = [d](V gradient, V value) HWY_ATTR {
    return hn::Mul(gradient, activation_slope(d, Activation::tanh, value));
  };
  for (int64_t k = 0; k < row; k += hn::Lanes(d)) {
    const auto slot = [&](int64_t which) HWY_ATTR { return hn::LoadU(d, slots + which * row + k); };
    const auto store = [&](V gradient, int64_t which)
                           HWY_ATTR { hn::Store(gradient, d, grads + which * row + k); };
    const V dh = hn::Load(d, grad_h + k);
    const V last = hn::LoadU(d, state + k);
    if constexpr (kCell == Cell::lstm) {
      const V i = slot(0);
      const V f = slot(1);
      const V g = slot(2);
      const V o = slot(3);
      const V tanh_c = hn::Tanh(d, hn::LoadU(d, c + k));
      const V dc = hn::Add(hn::Load(d, grad_c + k), through_tanh(hn::Mul(dh, o), tanh_c));
      store(through_sigmoid(hn::Mul(dc, g), i), 0);
      store(through_sigmoid(hn::Mul(dc, last), f), 1);
      store(through_tanh(hn::Mul(dc, i), g), 2);
      store(through_sigmoid(hn::Mul(dh, tanh_c), o), 3);
      hn::Store(hn::Mul(dc, f), d, grad_c + k);
      hn::Store(hn::Zero(d), d, grad_h + k);
    } else if constexpr (kCell == Cell::gru) {
      const V n = slot(0);
      const V r = slot(1);
      const V u = slot(2);
      const V d_sum = through_tanh(hn::Mul(dh, hn::Sub(hn::Set(d, T(1)), u)), n);  // of p_n + r q_n
      store(d_sum, 0);
      store(through_sigmoid(hn::Mul(d_sum, slot(3)), r), 1);
      store(through_sigmoid(hn::Mul(dh, hn::Sub(last, n)), u), 2);
      store(hn::Mul(d_sum, r), 3);
      hn::Store(hn::Mul(dh, u), d, grad_h + k);
    } else {
      store(through_tanh(dh, last), 0);
      hn::Store(hn::Zero(d), d, grad_h + k);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stpn::kernels
HWY_AFTER_NAMESPACE();

#endif
