// What the inputs of a sequence drive each unit with, W x + b: of all steps at once, or in a closed
// loop of each step when its inputs come.
#pragma once

#include <torch/torch.h>

#include <memory>

#include "stpn/kernels/closed_loop.h"

namespace stpn::nn {

class InputProjection {
 public:
  // x (T, B, I), weight (H, I), bias (H), of one dtype. `loop` null: x is complete. Otherwise
  // `loop` writes x step by step, and x is contiguous and needs no gradient; throws base::UserError
  // if not.
  InputProjection(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  kernels::ClosedLoop* loop);

  // (T, B, H), differentiable. In a closed loop only step 0 is there yet.
  const at::Tensor& drive() const { return drive_; }
  // For the op that takes the drive: answers with it. Null if there is no loop.
  kernels::ClosedLoop* closed_loop() const { return loop_.get(); }

 private:
  at::Tensor drive_;
  std::unique_ptr<kernels::ClosedLoop> loop_;
};

}  // namespace stpn::nn
