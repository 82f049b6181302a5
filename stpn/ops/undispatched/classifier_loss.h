// The loss of a linear layer's answers, with its gradients at once: for supervised training,
// without libtorch's graph. The equations are in stpn/kernels/classifier_loss/equations.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace stpn::ops {

// The gradients have the shapes of y, weight and bias.
struct ClassifierLoss {
  double loss = 0;  // the sum
  at::Tensor y, weight, bias;
};

// The sum of losses, and `scale` times its gradients. All tensors are of one float type, but the
// target, and on the CPU.
//   y             (..., H), of R rows
//   weight, bias  (C, H) and (C)
//   target        (N) int64, of the last N rows: 0 .. C-1, of one class 0 or 1; negative: none. The
//                 rows before them have none, and gradients of 0.
// Throws base::UserError for tensors of other shapes or types.
ClassifierLoss run_classifier_loss(const at::Tensor& y, const at::Tensor& weight,
                                   const at::Tensor& bias, const at::Tensor& target, double scale);

}  // namespace stpn::ops
