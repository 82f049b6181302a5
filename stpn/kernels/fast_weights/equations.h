// Fast weights: a recurrent network with a matrix A for each sample. A decays, and at every step
// the outer product of the activity with itself is added to it; within a step, A pulls the activity
// towards recent ones.
//
//   A[t] = decay * A[t-1] + rate * (h[t-1] outer h[t-1])
//   p = W [x[t]; h[t-1]] + b;   s_0 = tanh(LN(p))
//   s_k = tanh(LN(p + A[t] s_(k-1))),   k = 1 .. S;   h[t] = s_S
//
// LN is one layer norm for all S + 1 activations, with learned gain and offset, or nothing
// (variant).
//
// Ba, Hinton, Mnih, Leibo, Ionescu: Using Fast Weights to Attend to the Recent Past, NIPS 2016,
// section 3. Our choices where the paper says nothing: s_0 is normalised as well; the variance is
// divided by H, and 1e-5 is added to it.
#pragma once

#include <memory>

#include "stpn/kernels/fast_weights/signature.h"
#include "stpn/kernels/sequence_params.h"

namespace stpn::kernels {

struct FastWeightsVariant {
  FAST_WEIGHTS_OPTIONS(STPN_VARIANT_FIELD)
  bool layer_norm = true;
};

// The size that a letter of the signature's shapes stands for.
inline int64_t size_of(char letter, const Extent& extent, const FastWeightsVariant&) {
  return letter == 'N' ? extent.inputs + extent.hidden : size_of(letter, extent);
}

// The arrays of a sequence, by the names of the signature: what each is and its shape stand there.
// Energy, here, is that of each neuron's fast weights at each step: the sum over inner steps k and
// over j of |A_ij| s_(k-1),j^2.
template <typename T>
struct FastWeightsForwardParams : SequenceForward<T> {
  FastWeightsVariant variant;
  FAST_WEIGHTS_TENSORS(STPN_FORWARD_FIELD)
};

// Gradients of a scalar loss from those of what forward returned. Null: zero (read) or not wanted
// (written). `forward` is as it was in the forward call; its `output`, `saved` and initial state
// are read.
template <typename T>
struct FastWeightsBackwardParams : SequenceBackward<T> {
  FastWeightsForwardParams<T> forward;
  FAST_WEIGHTS_TENSORS(STPN_BACKWARD_FIELD)
};

STPN_UNIT_FIELDS(FastWeightsFields, FAST_WEIGHTS_TENSORS, FastWeightsForwardParams,
                 FastWeightsBackwardParams);

// The reference: the equations line by line. Stores every A and takes one sample after the other.
template <typename T>
void fast_weights_forward_ref(const FastWeightsForwardParams<T>& p);
template <typename T>
void fast_weights_backward_ref(const FastWeightsBackwardParams<T>& p);

// SIMD with run-time dispatch: a few samples at a time run through the whole sequence; A is updated
// once per time block. The same bits for any number of threads.
template <typename T>
void fast_weights_forward_cpu(const FastWeightsForwardParams<T>& p);
template <typename T>
void fast_weights_backward_cpu(const FastWeightsBackwardParams<T>& p);

template <typename T>
std::shared_ptr<const PlasticPlan<T>> fast_weights_cpu_plan(const Extent& extent,
                                                            const FastWeightsVariant& variant,
                                                            Grouping grouping = Grouping::fastest);

}  // namespace stpn::kernels
