// Fast weights: a recurrent network of which every sample has a matrix A that decays and learns
// each activity as an outer product; within a step, A pulls the activity towards those it learnt
// lately.
//
//   A[t] = decay * A[t-1] + rate * (h[t-1] outer h[t-1])
//   p = W [x[t]; h[t-1]] + b;   s_0 = tanh(LN(p))
//   s_k = tanh(LN(p + A[t] s_(k-1))),   k = 1 .. S;   h[t] = s_S
//
// LN is one layer norm for all S + 1 activations, with learned gain and offset, or nothing
// (variant).
//
// Ba, Hinton, Mnih, Leibo, Ionescu: Using Fast Weights to Attend to the Recent Past, NIPS 2016,
// section 3. Known choices where the paper is silent: the first activation is normalised as well;
// variance is divided by H, and 1e-5 added to it.
#pragma once

#include <cstdint>

#include "stpn/base/parallel.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/extent.h"

namespace stpn::kernels {

struct FastWeightsVariant {
  int64_t inner_steps = 1;  // S, at least 1
  bool layer_norm = true;
  double decay = 0.9;
  double rate = 0.5;
};

// What one whole sequence needs. All pointers are borrowed for the call; `in` and `out` must not
// overlap.
template <typename T>
struct FastWeightsForwardParams {
  Extent extent;
  FastWeightsVariant variant;

  const T* x = nullptr;  // in  (T, B, I)
  const uint8_t* reset =
      nullptr;  // in  (T, B); null: none. Not 0: that sample's state is zeroed before step t
  const T* initial_h = nullptr;  // in  (B, H)
  const T* initial_A = nullptr;  // in  (B, H, H)

  const T* weight = nullptr;             // in  (H, I+H)  W, inputs first
  const T* bias = nullptr;               // in  (H)       b
  const T* layer_norm_weight = nullptr;  // in  (H); layer norm only
  const T* layer_norm_bias = nullptr;    // in  (H); layer norm only

  T* output = nullptr;   // out (T, B, H)  h[0] .. h[T-1]
  T* final_A = nullptr;  // out (B, H, H)

  // Energy of the fast weights of each unit at each step, sum over inner steps k and over j of
  // |A_ij| s_(k-1),j^2, or null. That of the slow weights is the caller's.
  T* energy = nullptr;  // out (T, B, H)

  // SavedActivations for backward by the CPU kernel, laid out as it likes; null when only predicting. The
  // reference needs none.
  T* saved = nullptr;  // out (fast_weights_saved_size)

  const base::ParallelFor* parallel = nullptr;  // null: the calling thread
  ClosedLoop* closed_loop = nullptr;            // null: inputs and reset are complete
};

// Gradients of a scalar loss, given those of what forward returned. Those that are null are taken
// as zero (in) or not wanted (out). `forward` is as it was in the forward call: `output` and `kept`
// are read now, and the initial state again.
template <typename T>
struct FastWeightsBackwardParams {
  FastWeightsForwardParams<T> forward;

  const T* grad_output =
      nullptr;  // in  (T, B, H); the gradient of h[T-1] as final state is added to its last step
  const T* grad_final_A = nullptr;  // in  (B, H, H)

  T* grad_x = nullptr;                  // out (T, B, I)
  T* grad_initial_h = nullptr;          // out (B, H)
  T* grad_initial_A = nullptr;          // out (B, H, H)
  T* grad_weight = nullptr;             // out (H, I+H)
  T* grad_bias = nullptr;               // out (H)
  T* grad_layer_norm_weight = nullptr;  // out (H)
  T* grad_layer_norm_bias = nullptr;    // out (H)
};

// The equations line by line: the oracle. Keeps every A, runs one sample after the other.
template <typename T>
void fast_weights_forward_ref(const FastWeightsForwardParams<T>& p);
template <typename T>
void fast_weights_backward_ref(const FastWeightsBackwardParams<T>& p);

// SIMD with run-time dispatch, a few samples side by side, time loop inside; A comes up to date
// once in a shard of steps. Gives the same bits for any number of threads.
template <typename T>
void fast_weights_forward_cpu(const FastWeightsForwardParams<T>& p);
template <typename T>
void fast_weights_backward_cpu(const FastWeightsBackwardParams<T>& p);

// Values of T that `kept` must hold.
template <typename T>
int64_t fast_weights_saved_size(const Extent& extent, const FastWeightsVariant& variant);

}  // namespace stpn::kernels
