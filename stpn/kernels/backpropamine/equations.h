// Backpropamine: a recurrent neuron whose synapses have a plastic part P, written under the control
// of a modulator that the network computes of its own activity.
//
//   h[t] = tanh(W_i x[t] + b_i + (w + alpha * P[t-1]) h[t-1])
//   D = h[t] outer h[t-1];   m = act(modulator_weight . h[t] + modulator_bias), one a sample
//   P[t] = P[t-1] plus m D
//
// Neuromodulation: `modplast` as above; `plastic` has a learned constant, rate, in place of m;
// `modul` adds m E[t-1] for m D, where E is an eligibility trace:
//   E[t] = (1 - rate) E[t-1] + rate D
// Addition, with d = m D (or m E) and c = 1:
//   clamp       P + d, clamped to +-c
//   soft_clamp  P + max(d, 0) (1 - P) + min(d, 0) (P + 1), clamped to +-c, c = 0.99999 for `modul`
//   additive    P + d
//   decaying    (1 - m) P + d
// Gradients pass a clamp inside and exactly at the bound; at d = 0 those of max and min both pass.
//
// Miconi, Rawal, Clune, Stanley: Backpropamine: training self-modifying neural networks with
// differentiable neuromodulated plasticity, ICLR 2019, sections 3.1 and 3.2. After the published
// code: the four additions, and the trace that is updated after its use.
#pragma once

#include <cstdint>
#include <limits>

#include "stpn/base/parallel.h"
#include "stpn/kernels/activation.h"
#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/extent.h"

namespace stpn::kernels {

enum class Neuromodulation { modplast, plastic, modul };
enum class Addition { clamp, soft_clamp, additive, decaying };
enum class Modulator { tanh, sigmoid, linear };

struct BackpropamineVariant {
  Neuromodulation neuromodulation = Neuromodulation::modplast;
  Addition addition = Addition::clamp;
  Modulator modulator = Modulator::tanh;

  bool has_modulator() const { return neuromodulation != Neuromodulation::plastic; }
  bool has_rate() const { return neuromodulation != Neuromodulation::modplast; }
  bool has_trace() const { return neuromodulation == Neuromodulation::modul; }
  double bound() const {  // c; infinity: none
    if (addition == Addition::soft_clamp && has_trace()) return 0.99999;
    const bool bounded = addition == Addition::clamp || addition == Addition::soft_clamp;
    return bounded ? 1 : std::numeric_limits<double>::infinity();
  }
  Activation modulator_activation() const {
    switch (modulator) {
      case Modulator::tanh:
        return Activation::tanh;
      case Modulator::sigmoid:
        return Activation::sigmoid;
      case Modulator::linear:
        break;
    }
    return Activation::identity;
  }
};

// What one whole sequence needs. All pointers are borrowed for the call; `in` and `out` must not
// overlap.
template <typename T>
struct BackpropamineForwardParams {
  Extent extent;
  BackpropamineVariant variant;

  const T* x = nullptr;  // in  (T, B, I)
  const uint8_t* reset =
      nullptr;  // in  (T, B); null: none. Not 0: that sample's state is zeroed before step t
  const T* initial_h = nullptr;  // in  (B, H)
  const T* initial_P = nullptr;  // in  (B, H, H)
  const T* initial_E = nullptr;  // in  (B, H, H); has_trace only

  const T* weight_ih = nullptr;         // in  (H, I)  W_i
  const T* bias = nullptr;              // in  (H)     b_i
  const T* weight_hh = nullptr;         // in  (H, H)  w
  const T* alpha = nullptr;             // in  (H, H)
  const T* modulator_weight = nullptr;  // in  (H); has_modulator only
  const T* modulator_bias = nullptr;    // in  (1); has_modulator only
  const T* rate = nullptr;              // in  (1); has_rate only

  T* output = nullptr;   // out (T, B, H)  h[0] .. h[T-1]
  T* final_P = nullptr;  // out (B, H, H)
  T* final_E = nullptr;  // out (B, H, H); has_trace only

  // Energy of each unit's recurrent synapses at each step, sum over j of
  // |w_ij + alpha_ij P_ij| h_j[t-1]^2, or null.
  T* energy = nullptr;  // out (T, B, H)

  // SavedActivations for backward by the CPU kernel, laid out as it likes; null when only predicting. The
  // reference needs none.
  T* saved = nullptr;  // out (backpropamine_saved_size)

  const base::ParallelFor* parallel = nullptr;  // null: the calling thread
  ClosedLoop* closed_loop = nullptr;            // null: inputs and reset are complete
};

// Gradients of a scalar loss, given those of what forward returned. Those that are null are taken
// as zero (in) or not wanted (out). `forward` is as it was in the forward call: `output` and `kept`
// are read now, and the initial state again.
template <typename T>
struct BackpropamineBackwardParams {
  BackpropamineForwardParams<T> forward;

  const T* grad_output =
      nullptr;  // in  (T, B, H); the gradient of h[T-1] as final state is added to its last step
  const T* grad_final_P = nullptr;  // in  (B, H, H)
  const T* grad_final_E = nullptr;  // in  (B, H, H)

  T* grad_x = nullptr;                 // out (T, B, I)
  T* grad_initial_h = nullptr;         // out (B, H)
  T* grad_initial_P = nullptr;         // out (B, H, H)
  T* grad_initial_E = nullptr;         // out (B, H, H)
  T* grad_weight_ih = nullptr;         // out (H, I)
  T* grad_bias = nullptr;              // out (H)
  T* grad_weight_hh = nullptr;         // out (H, H)
  T* grad_alpha = nullptr;             // out (H, H)
  T* grad_modulator_weight = nullptr;  // out (H)
  T* grad_modulator_bias = nullptr;    // out (1)
  T* grad_rate = nullptr;              // out (1)
};

// The equations line by line: the oracle. Keeps every state, runs one sample after the other.
template <typename T>
void backpropamine_forward_ref(const BackpropamineForwardParams<T>& p);
template <typename T>
void backpropamine_backward_ref(const BackpropamineBackwardParams<T>& p);

// SIMD with run-time dispatch, a few samples side by side, time loop inside; backward replays P and
// E from checkpoints. Every variant. Gives the same bits for any number of threads.
template <typename T>
void backpropamine_forward_cpu(const BackpropamineForwardParams<T>& p);
template <typename T>
void backpropamine_backward_cpu(const BackpropamineBackwardParams<T>& p);

// Values of T that `kept` must hold.
template <typename T>
int64_t backpropamine_saved_size(const Extent& extent, const BackpropamineVariant& variant);

}  // namespace stpn::kernels
