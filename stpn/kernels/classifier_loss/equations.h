// A linear layer, the cross-entropy of its answers, and the gradients of both: what supervised
// training does with the output of a unit. For each row y with a target k:
//
//   l = W y + b
//
//                    loss                             d, its gradient with respect to l
//   several classes  log(sum over c of e^l_c) - l_k   e^l_c / (sum over c of e^l_c) - [c = k]
//   one class        log(1 + e^l) - k l               1 / (1 + e^-l) - k
//
//   dy = scale W' d,   dW = scale sum of d y',   db = scale sum of d
//
// A row without a target has no loss, and its dy is 0.
#pragma once

#include <cstdint>

namespace stpn::kernels {

// All arrays are the caller's, dense and row-major, and must live during the call.
template <typename T>
struct ClassifierLossParams {
  int64_t rows = 0;     // N
  int64_t hidden = 0;   // H, at least 1
  int64_t classes = 0;  // C, at least 1; of one class the answer is yes or no
  // Of the gradients: 1 / N, say, for those of a mean.
  double scale = 1;
  const T* y = nullptr;             // in   (N, H)
  const T* weight = nullptr;        // in   (C, H)
  const T* bias = nullptr;          // in   (C)
  const int64_t* target = nullptr;  // in   (N): 0 .. C-1, of one class 0 or 1; negative: none
  T* grad_y = nullptr;              // out  (N, H)
  T* grad_weight = nullptr;         // out  (C, H)
  T* grad_bias = nullptr;           // out  (C)
};

// Both return the sum of losses. It is not finite where a logit is not, but for one of minus
// infinity whose class is no target, and where a target is less probable than T can say.
//
// The reference: the equations line by line.
template <typename T>
double classifier_loss_ref(const ClassifierLossParams<T>& p);
// SIMD with run-time dispatch, on this thread.
template <typename T>
double classifier_loss_cpu(const ClassifierLossParams<T>& p);

}  // namespace stpn::kernels
