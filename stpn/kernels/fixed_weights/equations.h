// Recurrent networks whose weights stay fixed within a sequence: LSTM, GRU, and plain tanh neurons.
// Their equations are those of torch.nn.LSTM, GRU and RNN, with one layer.
//
//   p = W_ih x[t] + b_ih        from the inputs, R = G H values: one block of H for each gate
//   q = W_hh h[t-1] + b_hh      from the last activities
//
//   lstm (G = 4; i, f, g, o)    i, f, o = sigmoid(p + q);  g = tanh(p_g + q_g)
//                               c[t] = f c[t-1] + i g;     h[t] = o tanh(c[t])
//   gru  (G = 3; r, u, n)       r, u = sigmoid(p + q);     n = tanh(p_n + r q_n)
//                               h[t] = (1 - u) n + u h[t-1]
//   rnn  (G = 1)                h[t] = tanh(p + q)
//
// bias_hh may be absent, which is the same as zeros. A reset before step t zeroes h[t-1] and
// c[t-1], and no gradient passes it.
//
// Hochreiter, Schmidhuber: Long Short-Term Memory, Neural Computation 1997, with forget gates.
// Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014; as in torch,
// the reset gate r multiplies q_n and not h[t-1]. Elman: Finding Structure in Time, Cognitive
// Science 1990.
#pragma once

#include <cstdint>

#include "stpn/kernels/fixed_weights/signature.h"
#include "stpn/kernels/sequence_params.h"

namespace stpn::kernels {

struct FixedWeightsVariant {
  FIXED_WEIGHTS_OPTIONS(STPN_VARIANT_FIELD)
};

constexpr int64_t gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }

// The size that a letter of the signature's shapes stands for.
inline int64_t size_of(char letter, const Extent& extent, const FixedWeightsVariant& variant) {
  return letter == 'R' ? gates_of(variant.cell) * extent.hidden : size_of(letter, extent);
}

// The arrays of a sequence, by the names of the signature: what each is and its shape stand there.
// `energy` and `plan` have to be null: energy is not measured here, and there is no plan.
//
// Saved for backward, at each step and for each sample, fixed_weights_saved_size / (T B) values:
//   lstm   i, f, g, o, c[t]     each padded to 64 bytes
//   gru    n, r, u, q_n
//   rnn    nothing: backward reads the output
template <typename T>
struct FixedWeightsForwardParams : SequenceForward<T> {
  FixedWeightsVariant variant;
  FIXED_WEIGHTS_TENSORS(STPN_FORWARD_FIELD)
};

// Gradients of a scalar loss from those of what forward returned. Null: zero (read) or not wanted
// (written). `forward` is as it was in the forward call; its `output`, `saved` and initial state
// are read. REQUIRES: grad_energy is null.
template <typename T>
struct FixedWeightsBackwardParams : SequenceBackward<T> {
  FixedWeightsForwardParams<T> forward;
  FIXED_WEIGHTS_TENSORS(STPN_BACKWARD_FIELD)
};

STPN_UNIT_FIELDS(FixedWeightsFields, FIXED_WEIGHTS_TENSORS, FixedWeightsForwardParams,
                 FixedWeightsBackwardParams);

// The reference: the equations line by line, one sample after the other. It neither writes nor
// reads `saved`.
template <typename T>
void fixed_weights_forward_ref(const FixedWeightsForwardParams<T>& p);
template <typename T>
void fixed_weights_backward_ref(const FixedWeightsBackwardParams<T>& p);

// SIMD with run-time dispatch. The same bits for any number of threads.
template <typename T>
void fixed_weights_forward_cpu(const FixedWeightsForwardParams<T>& p);
template <typename T>
void fixed_weights_backward_cpu(const FixedWeightsBackwardParams<T>& p);

// How many values of T a call of the CPU kernel saves for backward.
template <typename T>
int64_t fixed_weights_saved_size(const Extent& extent, const FixedWeightsVariant& variant);

}  // namespace stpn::kernels
