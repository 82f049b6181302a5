// Backpropamine: a recurrent network whose synapses have a plastic part P. What is written into P
// is controlled by a modulator m that the network computes from its own activity.
//
//   h[t] = tanh(W_i x[t] + b_i + (w + alpha * P[t-1]) h[t-1])
//   D = h[t] outer h[t-1];   m = act(modulator_weight . h[t] + modulator_bias), one per sample
//   P[t] = P[t-1] "plus" m D, where the option `addition` says what is meant by "plus"
//
// Neuromodulation: `modplast` as above; `plastic` has a learned constant, rate, in place of m;
// `modul` adds m E[t-1] for m D, where E is an eligibility trace:
//   E[t] = (1 - rate) E[t-1] + rate D
// Addition, with d = m D (or m E) and c = 1:
//   clamp       P + d, clamped to +-c
//   soft_clamp  P + max(d, 0) (1 - P) + min(d, 0) (P + 1), clamped to +-c, c = 0.99999 for `modul`
//   additive    P + d
//   decaying    (1 - m) P + d
// The gradient of a clamp is 1 inside the bounds and exactly at them; at d = 0 the gradients of
// max(d, 0) and of min(d, 0) are both 1.
//
// Miconi, Rawal, Clune, Stanley: Backpropamine: training self-modifying neural networks with
// differentiable neuromodulated plasticity, ICLR 2019, sections 3.1 and 3.2. The four additions,
// and that E is updated after its use, follow the published code.
#pragma once

#include <memory>

#include "stpn/kernels/activation.h"
#include "stpn/kernels/backpropamine/signature.h"
#include "stpn/kernels/sequence_params.h"

namespace stpn::kernels {

struct BackpropamineVariant {
  BACKPROPAMINE_OPTIONS(STPN_VARIANT_FIELD)

  STPN_HOST_DEVICE bool has_modulator() const {
    return neuromodulation != Neuromodulation::plastic;
  }
  STPN_HOST_DEVICE bool has_rate() const { return neuromodulation != Neuromodulation::modplast; }
  STPN_HOST_DEVICE bool has_trace() const { return neuromodulation == Neuromodulation::modul; }
  double bound() const {  // c; infinity: none
    if (addition == Addition::soft_clamp && has_trace()) return 0.99999;
    const bool bounded = addition == Addition::clamp || addition == Addition::soft_clamp;
    return bounded ? 1 : std::numeric_limits<double>::infinity();
  }
  STPN_HOST_DEVICE Activation modulator_activation() const {
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

// The size that a letter of the signature's shapes stands for.
inline int64_t size_of(char letter, const Extent& extent, const BackpropamineVariant&) {
  return size_of(letter, extent);
}

// The arrays of a sequence, by the names of the signature: what each is and its shape stand there.
// Energy, here, is that of each neuron's recurrent synapses at each step: the sum over j of
// |w_ij + alpha_ij P_ij| h_j[t-1]^2.
template <typename T>
struct BackpropamineForwardParams : SequenceForward<T> {
  BackpropamineVariant variant;
  BACKPROPAMINE_TENSORS(STPN_FORWARD_FIELD)
};

// Gradients of a scalar loss from those of what forward returned. Null: zero (read) or not wanted
// (written). `forward` is as it was in the forward call; its `output`, `saved` and initial state
// are read.
template <typename T>
struct BackpropamineBackwardParams : SequenceBackward<T> {
  BackpropamineForwardParams<T> forward;
  BACKPROPAMINE_TENSORS(STPN_BACKWARD_FIELD)
};

STPN_UNIT_FIELDS(BackpropamineFields, BACKPROPAMINE_TENSORS, BackpropamineForwardParams,
                 BackpropamineBackwardParams);

// The reference: the equations line by line. Stores every state and takes one sample after the
// other.
template <typename T>
void backpropamine_forward_ref(const BackpropamineForwardParams<T>& p);
template <typename T>
void backpropamine_backward_ref(const BackpropamineBackwardParams<T>& p);

// SIMD with run-time dispatch: a few samples at a time run through the whole sequence; backward
// recomputes P and E from checkpoints. Every variant. The same bits for any number of threads.
template <typename T>
void backpropamine_forward_cpu(const BackpropamineForwardParams<T>& p);
template <typename T>
void backpropamine_backward_cpu(const BackpropamineBackwardParams<T>& p);

template <typename T>
std::shared_ptr<const PlasticPlan<T>> backpropamine_cpu_plan(const Extent& extent,
                                                             const BackpropamineVariant& variant,
                                                             Grouping grouping = Grouping::fastest);

}  // namespace stpn::kernels
