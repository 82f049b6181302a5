// The op of one fused unit: what UnitOp leaves to the unit's types, from its signature.
//
// `Unit` says the rest (stpn/ops/units/); kernels::size_of is found by the type of its variant:
//   kSignature                                its signature
//   Variant                                   the kernels' variant
//   Fields<T>                                 the kernels' parameter structs (STPN_UNIT_FIELDS)
//   kBackends<T>                              a row of BackendKernels for each backend it has
//   UnitCall                                  a call as C++ users write it (units/NAME.h)
//   for_each_tensor(UnitCall, visit)          its tensors, in order
//   for_each_option(Variant&, visit)          the fields of its options, in order
//   kWeightName, kWeightLayout                the weights whose shape says H and I, "(H, N)"
//   sizes_of(Call)                            REQUIRES: x and those weights have their dimensions
//   complete(Variant&, Call)                  sets what follows from shapes and absent tensors
//   check(Call, Variant)                      its own rules; throws base::UserError
//   lacks(name, Variant)                      whether the variant has no such final state
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <type_traits>

#include "stpn/base/error.h"
#include "stpn/kernels/saved_bound.h"
#include "stpn/kernels/sequence_params.h"
#include "stpn/ops/runtime/device_call.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/ops/unit_op.h"

namespace stpn::ops {

// A backend of a unit for one float type: a row of its table. Without a plan, or `saved` on a GPU,
// it saves nothing.
template <typename T, typename Variant, typename Forward, typename Backward>
struct BackendKernels {
  Backend backend;
  void (*forward)(const Forward&);
  void (*backward)(const Backward&);
  std::shared_ptr<const kernels::PlasticPlan<T>> (*plan)(const kernels::Extent&, const Variant&,
                                                         kernels::Grouping);
  kernels::Grouping grouping = kernels::Grouping::fastest;
  // On a GPU: what it saves for backward, and values of its workspace on the current device.
  kernels::SavedBound (*saved)(const kernels::Extent&, const Variant&) = nullptr;
  int64_t (*workspace)(const kernels::Extent&, const Variant&, bool backward) = nullptr;
};

// The row of the tensor of this name in the signature.
constexpr size_t row_of(const kernels::Signature& signature, std::string_view name) {
  size_t row = 0;
  while (row < signature.tensors.size() && signature.tensors[row].name != name) ++row;
  return row;
}

// Each of them contiguous; those that are not defined stay so.
inline Tensors contiguous_of(Tensors tensors) {
  for (at::Tensor& tensor : tensors) {
    if (tensor.defined()) tensor = tensor.contiguous();
  }
  return tensors;
}

template <typename T>
const T* read(const at::Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* write(const at::Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.data_ptr<T>() : nullptr;
}

template <typename Unit>
class TypedOp : public UnitOp {
 public:
  TypedOp() : UnitOp(Unit::kSignature) {}

  // One op, made at its first use.
  static TypedOp& one() {
    static TypedOp op;
    return op;
  }

  // Runs a call as C++ users write it; UnitOp::run says what it returns.
  static Tensors run_call(const typename Unit::UnitCall& from) {
    Call call;
    call.tensors.reserve(Unit::kSignature.tensors.size());
    Unit::for_each_tensor(from, [&](const at::Tensor& tensor) { call.tensors.push_back(tensor); });
    call.reset = from.reset;
    typename Unit::Variant variant = from.variant;
    call.options.reserve(Unit::kSignature.options.size());
    Unit::for_each_option(
        variant, [&](auto option) { call.options.push_back(static_cast<double>(option)); });
    call.energy = from.energy;
    call.final_states = from.final_states;
    call.closed_loop = from.closed_loop;
    return one().run(call);
  }

 protected:
  std::shared_ptr<const PreparedCall> prepare(const Call& call, Backend backend) const override {
    check_presence(call);
    const at::Tensor& x = call.tensors[row_of(signature(), "x")];
    check_dimensions("x", x, "(T, B, I)");
    check_dimensions(Unit::kWeightName, call.tensors[row_of(signature(), Unit::kWeightName)],
                     Unit::kWeightLayout);
    const CallSizes sizes = Unit::sizes_of(call);
    const kernels::Extent& extent = sizes.extent;
    STPN_CHECK(extent.steps > 0, "{}: x has no time step", signature().name);
    STPN_CHECK(extent.inputs > 0 && extent.hidden > 0,
               "{}: {} of shape {} gives I = {} and H = {}; both must be at least 1",
               signature().name, Unit::kWeightName,
               c10::str(call.tensors[row_of(signature(), Unit::kWeightName)].sym_sizes()),
               extent.inputs, extent.hidden);
    typename Unit::Variant variant;
    size_t next = 0;
    Unit::for_each_option(variant, [&](auto& option) {
      option = static_cast<std::remove_reference_t<decltype(option)>>(call.options[next++]);
    });
    Unit::complete(variant, call);
    check_tensors(call, sizes, [&](char letter) { return size_of(letter, extent, variant); });
    Unit::check(call, variant);
    if (x.scalar_type() == at::kFloat) {
      return std::make_shared<Typed<float>>(backend, sizes, variant);
    }
    return std::make_shared<Typed<double>>(backend, sizes, variant);
  }

  void add_energy(const Call& call, Tensors& results) const override {
    if constexpr (requires { Unit::add_energy(call, results); }) Unit::add_energy(call, results);
  }

 private:
  template <typename T>
  class Typed : public PreparedCall {
    using Fields = typename Unit::template Fields<T>;
    using Forward = typename Fields::Forward;
    using Backward = typename Fields::Backward;
    static constexpr size_t kRows = std::size(Fields::values);

   public:
    Typed(Backend the_backend, const CallSizes& the_sizes, const typename Unit::Variant& variant)
        : PreparedCall(the_backend, the_sizes), variant_(variant) {
      const auto& table = Unit::template kBackends<T>;
      kernels_ = std::find_if(std::begin(table), std::end(table),
                              [&](const auto& row) { return row.backend == the_backend; });
      STPN_CHECK(kernels_ != std::end(table), "{}: there is no backend \"{}\" of it",
                 Unit::kSignature.name, name_of(the_backend));
      if (kernels_->plan != nullptr && extent.batch > 0) plan_ = plan_of(extent);
      if (plan_ != nullptr) saved_size = kernels::saved_size(*plan_);
      if (kernels_->saved != nullptr) {
        saved_size = kernels_->saved(extent, variant).size(extent.steps, extent.batch);
      }
      for (const kernels::TensorSpec& tensor : Unit::kSignature.tensors) {
        if (tensor.role == kernels::Role::state) state_shapes.push_back(shape_of(tensor));
      }
    }

    c10::SymInt saved_bound() const override {
      if (kernels_->plan == nullptr && kernels_->saved == nullptr) return 0;
      const kernels::SavedBound bound =
          kernels_->saved != nullptr ? kernels_->saved(extent, variant_) : bound_of_plans();
      return sizes.batch * (sizes.steps * bound.per_step +
                            (sizes.steps / bound.interval + 1) * bound.per_checkpoint);
    }

    void forward(const Call& given, const Tensors& results) const override {
      if (extent.batch == 0) return;
      std::optional<Call> storage;
      const Call& call = with_states(given, storage);
      Forward p = params(call, results.front(), results.back());
      size_t next = 1;
      for (size_t row = 0; row < kRows; ++row) {
        if (Fields::finals[row] != nullptr) p.*Fields::finals[row] = write<T>(results[next++]);
      }
      p.energy = write<T>(results[next]);
      p.closed_loop = call.closed_loop;
      std::optional<DeviceCall> on_device;
      if (kernels_->workspace != nullptr) {
        on_device.emplace(call.tensors.front());
        p.on_device = on_device->handles(kernels_->workspace(extent, variant_, /*backward=*/false));
      }
      kernels_->forward(p);
    }

    void backward(const Call& given, const Tensors& grads, const at::Tensor& output,
                  const at::Tensor& saved, const Tensors& gradients) const override {
      std::optional<Call> storage;
      const Call& call = with_states(given, storage);
      Backward p;
      p.forward = params(call, output, saved);
      size_t next = 0;
      p.grad_output = read<T>(grads[next++]);
      for (size_t row = 0; row < kRows; ++row) {
        if (Fields::final_gradients[row] != nullptr) {
          p.*Fields::final_gradients[row] = read<T>(grads[next++]);
        }
        if (Fields::gradients[row] != nullptr) {
          p.*Fields::gradients[row] = write<T>(gradients[row]);
        }
      }
      p.grad_energy = read<T>(grads[next]);
      std::optional<DeviceCall> on_device;
      if (kernels_->workspace != nullptr) {
        on_device.emplace(call.tensors.front());
        p.forward.on_device =
            on_device->handles(kernels_->workspace(extent, variant_, /*backward=*/true));
      }
      kernels_->backward(p);
    }

   private:
    auto plan_of(const kernels::Extent& whole) const {
      return kernels_->plan(whole, variant_, kernels_->grouping);
    }

    kernels::SavedBound bound_of_plans() const {
      kernels::SavedBound bound;
      for (const int64_t batch : kernels::kBatchesToBound) {
        const kernels::Extent whole{kernels::kStepsToBound, batch, extent.inputs, extent.hidden};
        bound.widen(kernels::saved_bound(*plan_of(whole)));
      }
      return bound;
    }

    Shape shape_of(const kernels::TensorSpec& tensor) const {
      if (Unit::lacks(tensor.name, variant_)) return {0};
      Shape shape;
      for (const char* letter = tensor.shape; *letter != '\0'; ++letter) {
        if (*letter != ' ') shape.push_back(size_of(*letter, extent, variant_));
      }
      return shape;
    }

    // On a GPU, whose kernels read every initial state: the call with zeros for those that it
    // lacks, in `storage`.
    const Call& with_states(const Call& call, std::optional<Call>& storage) const {
      if (kernels_->workspace == nullptr) return call;
      for (size_t row = 0; row < kRows; ++row) {
        const kernels::TensorSpec& tensor = Unit::kSignature.tensors[row];
        if (call.tensors[row].defined() || !tensor.is_state() ||
            !takes(Unit::kSignature, tensor.name) || Unit::lacks(tensor.name, variant_)) {
          continue;
        }
        if (!storage) storage = call;
        storage->tensors[row] = at::zeros(shape_of(tensor), call.tensors.front().options());
      }
      return storage ? *storage : call;
    }

    Forward params(const Call& call, const at::Tensor& output, const at::Tensor& saved) const {
      Forward p;
      p.extent = extent;
      p.variant = variant_;
      for (size_t row = 0; row < kRows; ++row) {
        if (Fields::values[row] != nullptr) {
          p.*Fields::values[row] = read<T>(call.tensors[row]);
        }
      }
      p.reset = reinterpret_cast<const uint8_t*>(read<bool>(call.reset));
      p.output = write<T>(output);
      p.saved = write<T>(saved);
      p.plan = plan_.get();
      p.parallel = parallel_for_of_call();
      return p;
    }

    const typename Unit::Variant variant_;
    const BackendKernels<T, typename Unit::Variant, Forward, Backward>* kernels_;
    std::shared_ptr<const kernels::PlasticPlan<T>> plan_;
  };
};

}  // namespace stpn::ops
