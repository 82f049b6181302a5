// The memory of the gated delta rule: one matrix S of each head of each sample, with values along
// its rows and keys along its columns. For each of them, at each step:
//
//   S       = 0 where the sample is reset
//   energy  = sum over j of |S_ij| (k_j^2 + q_j^2)          of each row i
//   e       = b (v - a S k)
//   S       = a S + e k'
//   read    = S q
//
// with the key k, the query q, the value v, the decay a and the write b of the step, which are
// inputs: nothing that is read goes back into the memory but through S.
//
// Derivatives: sign(0) = 0 in that of |S|.
//
// Yang, Kautz, Hatamizadeh: Gated Delta Networks, ICLR 2025. What makes k, q, v, a and b from the
// input of the unit is in stpn/nn/rivals/gated_delta.h.
#pragma once

#include <cstdint>

#include "stpn/base/parallel.h"

namespace stpn::kernels {

// All at least 1. "Memories" are the heads of all samples, those of a sample side by side.
struct GatedDeltaExtent {
  int64_t steps = 0;  // T
  int64_t samples = 0;
  int64_t heads = 0;       // of a sample
  int64_t key_size = 0;    // K
  int64_t value_size = 0;  // V

  int64_t memories() const { return samples * heads; }        // M
  int64_t synapses() const { return key_size * value_size; }  // of a memory
};

// All arrays are the caller's, dense and row-major, and must live during the call.
template <typename T>
struct GatedDeltaForwardParams {
  GatedDeltaExtent extent;
  const T* query = nullptr;     // in   (T, M, K)
  const T* key = nullptr;       // in   (T, M, K)
  const T* value = nullptr;     // in   (T, M, V)
  const T* decay = nullptr;     // in   (T, M)
  const T* write = nullptr;     // in   (T, M)
  const T* state = nullptr;     // in   (M, V, K)  S before the first step
  const bool* reset = nullptr;  // in   (T, samples)  null: none
  T* read = nullptr;            // out  (T, M, V)
  T* final_state = nullptr;     // out  (M, V, K)
  T* energy = nullptr;          // out  (T, M, V)  null: not wanted
  // What backward reads besides: gated_delta_saved_size values. Null when only predicting.
  T* saved = nullptr;                           // out
  const base::ParallelFor* parallel = nullptr;  // null: on this thread
};

// Gradients of a scalar loss. `forward` is as it was in the forward call; its inputs and `saved`
// are read, its outputs are not.
template <typename T>
struct GatedDeltaBackwardParams {
  GatedDeltaForwardParams<T> forward;
  const T* grad_read = nullptr;         // in   (T, M, V)  null: zeros, as for the next two
  const T* grad_final_state = nullptr;  // in   (M, V, K)
  const T* grad_energy = nullptr;       // in   (T, M, V)
  T* grad_query = nullptr;              // out  (T, M, K)
  T* grad_key = nullptr;                // out  (T, M, K)
  T* grad_value = nullptr;              // out  (T, M, V)
  T* grad_decay = nullptr;              // out  (T, M)
  T* grad_write = nullptr;              // out  (T, M)
  T* grad_state = nullptr;              // out  (M, V, K)
};

// The reference: the equations line by line. It neither writes nor reads `saved`.
template <typename T>
void gated_delta_forward_ref(const GatedDeltaForwardParams<T>& p);
template <typename T>
void gated_delta_backward_ref(const GatedDeltaBackwardParams<T>& p);

// SIMD with run-time dispatch, one memory in each lane. A memory has the same bits whatever the
// others are, with and without energy, and for any number of threads.
template <typename T>
void gated_delta_forward_cpu(const GatedDeltaForwardParams<T>& p);
template <typename T>
void gated_delta_backward_cpu(const GatedDeltaBackwardParams<T>& p);

// How many values of T a call of the CPU kernel saves for backward.
template <typename T>
int64_t gated_delta_saved_size(const GatedDeltaExtent& extent);

}  // namespace stpn::kernels
