// A call of a unit's op in autograd's graph. torch::autograd::Function would do as much, but its
// maps and lists take a twentieth of the time of a small unit.
#pragma once

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <memory>
#include <string>
#include <vector>

#include "stpn/ops/unit_op.h"

namespace stpn::ops {

// Makes it an error, which names the op, to differentiate the gradients with respect to the call's
// tensors or to `grads`.
void refuse_second_derivative(const UnitOp& op, const Call& call, const Tensors& grads,
                              const Tensors& gradients);
// The same for a function of this name, of these differentiable inputs.
void refuse_second_derivative(const char* name, Tensors inputs, const Tensors& grads,
                              const Tensors& gradients);

class CallNode : public torch::autograd::Node {
 public:
  // `prepared` is null where the call was traced.
  CallNode(const UnitOp& op, const Call& call, std::shared_ptr<const PreparedCall> prepared,
           Backend backend);

  // Output, final states, energy if it was asked for, saved: all but the last become
  // differentiable.
  void attach_to(const Tensors& results);

  std::string name() const override;
  Tensors apply(Tensors&& grads) override;
  void release_variables() override;

 private:
  const UnitOp& op_;
  const std::shared_ptr<const PreparedCall> prepared_;
  const Backend backend_;
  const std::vector<double> options_;
  const bool energy_;
  std::vector<torch::autograd::SavedVariable> tensors_;  // of rows that are absent: empty
  torch::autograd::SavedVariable reset_, output_, saved_;
};

}  // namespace stpn::ops
