// The heads of an agent, two linear layers, and their gradients, without torch: for losses on
// batches so small that calls of torch would take most of the time.
//
// For each:  o = W h + b;   dh = W^T do (added up over the two),   dW = sum do h^T,   db = sum do
#pragma once

#include <torch/torch.h>

#include <vector>

#include "stpn/nn/models/agent.h"

namespace stpn::nn {

// Reads the parameters of the agent, which must outlive it, at each call.
class AgentHeads {
 public:
  explicit AgentHeads(const Agent& agent);

  //   h        in (T, B, H), of the dtype of the model
  //   outputs  out (T, B, outputs) double, dense
  //   value    out (T, B) double, dense
  void forward(const torch::Tensor& h, torch::Tensor outputs, torch::Tensor value) const;

  struct Gradients {
    torch::Tensor h;                        // (T, B, H)
    std::vector<torch::Tensor> parameters;  // weight and bias of the policy, then of the value
  };
  //   d_outputs, d_value  in, as above
  Gradients backward(const torch::Tensor& h, const torch::Tensor& d_outputs,
                     const torch::Tensor& d_value) const;

 private:
  std::vector<torch::Tensor> parameters_;
};

}  // namespace stpn::nn
