#include "stpn/ops/packed_op.h"

#include <ATen/ATen.h>
#include <ATen/LegacyBatchedTensorImpl.h>

#include <utility>

#include "stpn/base/error.h"
#include "stpn/ops/unit_op.h"

namespace stpn::ops {
namespace {

using Optionals = c10::List<std::optional<at::Tensor>>;

std::optional<at::Tensor> optional_of(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

Optionals optionals_of(const Tensors& tensors) {
  Optionals optionals;
  optionals.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) optionals.push_back(optional_of(tensor));
  return optionals;
}

Tensors tensors_of(const Optionals& optionals) {
  Tensors tensors;
  tensors.reserve(optionals.size());
  for (const std::optional<at::Tensor>& tensor : optionals) {
    tensors.push_back(tensor.value_or(at::Tensor()));
  }
  return tensors;
}

Call call_of(const Optionals& tensors, const std::optional<at::Tensor>& reset,
             const std::vector<double>& options, bool energy) {
  return {.tensors = tensors_of(tensors),
          .reset = reset.value_or(at::Tensor()),
          .options = options,
          .energy = energy};
}

std::vector<bool> flags_of(const c10::List<bool>& list, size_t wanted, const char* name) {
  STPN_CHECK(list.size() == wanted, "{}: needed has {} entries, wants {}", name, list.size(),
             wanted);
  return {list.begin(), list.end()};
}

// A list of tensors has no holes: gradients that are not needed are left out.
Tensors only_defined(Tensors tensors) {
  std::erase_if(tensors, [](const at::Tensor& tensor) { return !tensor.defined(); });
  return tensors;
}

}  // namespace

PackedOp::PackedOp(const UnitOp& op, torch::Library& m) : op_(op) {
  const std::string forward = std::string(op.signature().name) + "_forward";
  const std::string backward = std::string(op.signature().name) + "_backward";
  m.def((forward + "(Tensor?[] tensors, Tensor? reset, float[] options, bool energy, bool save, "
                   "str backend) -> Tensor[]")
            .c_str());
  m.def((backward + "(Tensor?[] grads, Tensor output, Tensor saved, bool[] needed, "
                    "Tensor?[] tensors, Tensor? reset, float[] options, str backend) -> Tensor[]")
            .c_str());
  const auto on = [&m](c10::DispatchKey key, const std::string& name, auto kernel) {
    m.impl(name.c_str(), torch::dispatch(key, torch::CppFunction(std::move(kernel))));
  };
  const auto register_forward = [&](c10::DispatchKey key, auto run) {
    on(key, forward,
       [run](const Optionals& tensors, const std::optional<at::Tensor>& reset,
             const std::vector<double>& options, bool energy, bool save,
             const std::string& backend) {
         return run(call_of(tensors, reset, options, energy), backend_of(backend), save);
       });
  };
  const auto register_backward = [&](c10::DispatchKey key, auto run) {
    on(key, backward,
       [&op, run](const Optionals& grads, const at::Tensor& output, const at::Tensor& saved,
                  const c10::List<bool>& needed, const Optionals& tensors,
                  const std::optional<at::Tensor>& reset, const std::vector<double>& options,
                  const std::string& backend) {
         const Call call = call_of(tensors, reset, options, /*energy=*/false);
         return only_defined(run(call, backend_of(backend), tensors_of(grads), output, saved,
                                 flags_of(needed, call.tensors.size(), op.signature().name)));
       });
  };
  using Flags = std::vector<bool>;
  for (const c10::DispatchKey key :
       {c10::DispatchKey::CPU, c10::DispatchKey::CUDA, c10::DispatchKey::Meta}) {
    const bool real = key != c10::DispatchKey::Meta;
    register_forward(key, [&op, real](const Call& call, Backend backend, bool save) {
      return op.forward(call, backend, save, real);
    });
    register_backward(
        key, [&op, real](const Call& call, Backend backend, const Tensors& grads,
                         const at::Tensor& output, const at::Tensor& saved, const Flags& needed) {
          return op.backward(call, backend, grads, output, saved, needed, real);
        });
  }
  register_forward(c10::DispatchKey::Autograd, [&op](const Call& call, Backend backend, bool save) {
    return op.record_forward(call, backend, save);
  });
  register_backward(c10::DispatchKey::Autograd,
                    [&op](const Call& call, Backend backend, const Tensors& grads,
                          const at::Tensor& output, const at::Tensor& saved, const Flags& needed) {
                      return op.record_backward(call, backend, grads, output, saved, needed);
                    });
  register_backward(c10::DispatchKey::Batched,
                    [this](const Call& call, Backend backend, const Tensors& grads,
                           const at::Tensor& output, const at::Tensor& saved, const Flags& needed) {
                      return backward_one_by_one(call, backend, grads, output, saved, needed);
                    });
  const auto find = [](const std::string& name) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(("stpn::" + name).c_str(), "");
  };
  forward_ = find(forward).typed<Forward>();
  backward_ = find(backward).typed<Backward>();
}

Tensors PackedOp::forward(const Call& call, Backend backend, bool save) const {
  return forward_->call(optionals_of(call.tensors), optional_of(call.reset), call.options,
                        call.energy, save, name_of(backend));
}

Tensors PackedOp::backward(const Call& call, Backend backend, const Tensors& grads,
                           const at::Tensor& output, const at::Tensor& saved,
                           const std::vector<bool>& needed) const {
  c10::List<bool> flags;
  for (const bool flag : needed) flags.push_back(flag);
  Tensors found =
      backward_->call(optionals_of(grads), output, saved, flags, optionals_of(call.tensors),
                      optional_of(call.reset), call.options, name_of(backend));
  Tensors gradients(needed.size());
  size_t next = 0;
  for (size_t row = 0; row < needed.size(); ++row) {
    if (needed[row]) gradients[row] = std::move(found.at(next++));
  }
  return gradients;
}

Tensors PackedOp::backward_one_by_one(const Call& call, Backend backend, const Tensors& grads,
                                      const at::Tensor& output, const at::Tensor& saved,
                                      const std::vector<bool>& needed) const {
  const auto batched = [](const at::Tensor& grad) {
    return grad.defined() ? at::maybeGetBatchedImpl(grad) : nullptr;
  };
  int64_t entries = 0, level = -1;
  for (const at::Tensor& grad : grads) {
    const at::BatchedTensorImpl* impl = batched(grad);
    if (impl == nullptr) continue;
    const at::BatchDim& bdim = impl->bdims()[0];
    STPN_CHECK(impl->bdims().size() == 1 && (level == -1 || bdim.level() == level),
               "{}: nested batches of gradients (is_grads_batched in vmap) are not implemented",
               op_.signature().name);
    level = bdim.level();
    entries = impl->value().size(bdim.dim());
  }
  const auto entry = [&](const at::Tensor& grad, int64_t k) {
    const at::BatchedTensorImpl* impl = batched(grad);
    return impl == nullptr ? grad : impl->value().select(impl->bdims()[0].dim(), k);
  };
  std::vector<Tensors> of_rows(call.tensors.size());
  for (int64_t k = 0; k < entries; ++k) {
    Tensors of_entry;
    for (const at::Tensor& grad : grads) of_entry.push_back(entry(grad, k));
    const Tensors found = backward(call, backend, of_entry, output, saved, needed);
    for (size_t row = 0; row < found.size(); ++row) of_rows[row].push_back(found[row]);
  }
  Tensors gradients(call.tensors.size());
  for (size_t row = 0; row < gradients.size(); ++row) {
    if (needed[row]) {
      gradients[row] = at::addBatchDim(at::stack(of_rows[row]), level, /*dim=*/0);
    }
  }
  return gradients;
}

}  // namespace stpn::ops
