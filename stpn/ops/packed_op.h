// The two ops behind a unit's op, which appear in traced graphs: stpn::NAME_forward and
// stpn::NAME_backward. Their arguments are packed into lists, so that the same code serves all
// units.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <vector>

#include "stpn/ops/runtime/backend.h"

namespace stpn::ops {

struct Call;
class UnitOp;

class PackedOp {
 public:
  // Registers both, for tensors of the CPU and of a GPU, shape inference, autograd and batches of
  // gradients. `op` must outlive the library `m`.
  PackedOp(const UnitOp& op, torch::Library& m);

  // As UnitOp::forward and UnitOp::backward, through the dispatcher.
  std::vector<at::Tensor> forward(const Call& call, Backend backend, bool save) const;
  std::vector<at::Tensor> backward(const Call& call, Backend backend,
                                   const std::vector<at::Tensor>& grads, const at::Tensor& output,
                                   const at::Tensor& saved, const std::vector<bool>& needed) const;

 private:
  // Backward for a batch of gradients: the `grads` of torch.autograd.grad(is_grads_batched=True).
  std::vector<at::Tensor> backward_one_by_one(const Call& call, Backend backend,
                                              const std::vector<at::Tensor>& grads,
                                              const at::Tensor& output, const at::Tensor& saved,
                                              const std::vector<bool>& needed) const;

  using Tensors = std::vector<at::Tensor>;
  using Optionals = c10::List<std::optional<at::Tensor>>;
  using Forward = Tensors(const Optionals& tensors, const std::optional<at::Tensor>& reset,
                          const std::vector<double>& options, bool energy, bool save,
                          const std::string& backend);
  using Backward = Tensors(const Optionals& grads, const at::Tensor& output,
                           const at::Tensor& saved, const c10::List<bool>& needed,
                           const Optionals& tensors, const std::optional<at::Tensor>& reset,
                           const std::vector<double>& options, const std::string& backend);

  const UnitOp& op_;
  std::optional<c10::TypedOperatorHandle<Forward>> forward_;
  std::optional<c10::TypedOperatorHandle<Backward>> backward_;
};

}  // namespace stpn::ops
