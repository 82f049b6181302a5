// What the torch ops of all fused units share: checks, the choice of kernel or reference, autograd,
// shape inference, registration. A unit's op file states only what is its own (an example:
// stpn_recurrent_op.cc):
//
//   struct LeakyCall {                  // an op's arguments; an undefined tensor: not given
//     at::Tensor drive, h, F, weight;   // shapes as in the kernel's header
//     at::Tensor reset;                 // (T, B) bool; every call has it
//     std::string activation = "tanh";  // options: words and numbers
//     bool energy = false;              // every call has it
//     kernels::ClosedLoop* closed_loop = nullptr;  // likewise
//   };
//
//   struct LeakyOp {
//     using Call = LeakyCall;
//     static constexpr const char* kName = "leaky";
//
//     template <typename T>
//     struct Kernel {
//       // With members extent, variant, reset, output, energy, kept, parallel and
//       // closed_loop.
//       using Forward = kernels::LeakyForward<T>;
//       // With members forward and grad_output.
//       using Backward = kernels::LeakyBackward<T>;
//       static constexpr auto forward_ref = kernels::leaky_forward_ref<T>;
//       ... backward_ref, forward_cpu, backward_cpu, and saved_size of extent and variant
//       // All tensors but reset. The first is the sequence: dtype and device of all are its own.
//       // Those without a gradient (nullptr) come last.
//       static constexpr TensorSlot<T, Call, Forward, Backward> kTensors[] = {
//           {"drive", &Call::drive, &Forward::drive, &Backward::grad_drive, Given::always}, ...};
//       // The final states beside h, which is the last step of the output.
//       static constexpr StateSlot<T, Forward, Backward> kStates[] = {
//           {"F", &Forward::final_F, &Backward::grad_final_F}};
//     };
//
//     // visit(c.option) for each option but energy; C is Call or const Call.
//     template <typename C, typename Visit>
//     static void options(C& c, const Visit& visit);
//
//     // Of c they may read only options and sizes (with length()): its tensors may hold no values.
//     static kernels::Extent extent_of(const Call& c);
//     static kernels::LeakyVariant variant_of(const Call& c);
//     static SequenceShapes shapes(const Call& c);  // checks the dimensions that it relies on
//     static void check(const Call& c);             // the rest: ranges, what goes together
//   };
//
//   std::tuple<at::Tensor, ...> leaky_from_python(const at::Tensor& drive, ...);
//
//   TORCH_LIBRARY_FRAGMENT(stpn, m) {
//     m.def("leaky(Tensor drive, ..., *, ..., bool energy=False) -> (Tensor output, ...)",
//           torch::dispatch(c10::DispatchKey::CompositeImplicitAutograd, leaky_from_python));
//     // stpn::leaky_forward, and stpn::leaky_backward, which returns the needed gradients only.
//     SequenceOp<LeakyOp>::define(m);
//   }
//
// SequenceOp<LeakyOp>::run(call) then gives output, final states, energy: differentiable once in
// every tensor that has a gradient.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

#include "stpn/ops/any_sequence_op.h"
#include "stpn/ops/backend.h"

namespace stpn::nn {

template <typename T, typename Call, typename Forward, typename Backward>
struct TensorSlot {
  const char* name;
  at::Tensor Call::*tensor;
  const T* Forward::*values;
  T* Backward::*gradient;  // nullptr: it has none
  Given given;
};

template <typename T, typename Forward, typename Backward>
struct StateSlot {
  const char* name;
  T* Forward::*values;
  const T* Backward::*gradient;
};

namespace internal {

template <typename T>
const T* read(const at::Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* write(const at::Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 ? tensor.data_ptr<T>() : nullptr;
}

}  // namespace internal

template <typename Op>
class SequenceOp : public AnySequenceOp {
 public:
  using Call = typename Op::Call;

  // Throws base::UserError for wrong shapes, dtypes, devices and options.
  static Tensors run(const Call& c) { return one().run_any(arguments_of(c)); }

  static void define(torch::Library& m) { one().define_any(m); }

 private:
  using Arguments = SequenceArguments;
  template <typename T>
  using Kernel = typename Op::template Kernel<T>;

  SequenceOp() : AnySequenceOp(info()) {}

  static SequenceOp& one() {
    static SequenceOp op;
    return op;
  }

  // What of the tables does not depend on the float type.
  static Info info() {
    const Arguments like = arguments_of(Call());
    Info info{Op::kName, {}, 0, {}, like.words.size(), like.numbers.size()};
    for (const auto& slot : Kernel<float>::kTensors) {
      info.tensors.push_back({slot.name, slot.given});
      info.gradients += slot.gradient != nullptr;
    }
    for (const auto& slot : Kernel<float>::kStates) info.states.push_back(slot.name);
    return info;
  }

  static Arguments arguments_of(const Call& c) {
    Arguments arguments;
    for (const auto& slot : Kernel<float>::kTensors) arguments.tensors.push_back(c.*slot.tensor);
    arguments.tensors.push_back(c.reset);
    Op::options(c, [&]<typename O>(const O& option) {
      if constexpr (std::same_as<O, std::string>) {
        arguments.words.push_back(option);
      } else {
        arguments.numbers.push_back(static_cast<double>(option));
      }
    });
    arguments.energy = c.energy;
    arguments.closed_loop = c.closed_loop;
    return arguments;
  }

  static Call call_of(const Arguments& arguments) {
    Call c;
    size_t tensor = 0;
    for (const auto& slot : Kernel<float>::kTensors) c.*slot.tensor = arguments.tensors[tensor++];
    c.reset = arguments.tensors[tensor];
    size_t word = 0;
    size_t number = 0;
    Op::options(c, [&]<typename O>(O& option) {
      if constexpr (std::same_as<O, std::string>) {
        option = arguments.words[word++];
      } else {
        option = static_cast<O>(arguments.numbers[number++]);
      }
    });
    c.energy = arguments.energy;
    c.closed_loop = arguments.closed_loop;
    return c;
  }

  SequenceShapes shapes(const Arguments& arguments) const override {
    return Op::shapes(call_of(arguments));
  }
  void check_call(const Arguments& arguments) const override { Op::check(call_of(arguments)); }
  int64_t saved_size(const Arguments& arguments) const override {
    const Call c = call_of(arguments);
    const auto size = is_float(arguments) ? Kernel<float>::saved_size : Kernel<double>::saved_size;
    return size(Op::extent_of(c), Op::variant_of(c));
  }
  void forward(const Arguments& arguments, bool on_cpu_kernel,
               const Tensors& results) const override {
    const auto run = is_float(arguments) ? forward_of<float> : forward_of<double>;
    run(call_of(arguments), on_cpu_kernel, results);
  }
  void backward(const Arguments& arguments, bool on_cpu_kernel, const Tensors& grads,
                const at::Tensor& output, const at::Tensor& saved,
                const Tensors& gradients) const override {
    const auto run = is_float(arguments) ? backward_of<float> : backward_of<double>;
    run(call_of(arguments), on_cpu_kernel, grads, output, saved, gradients);
  }

  static bool is_float(const Arguments& arguments) {
    return arguments.tensors[0].scalar_type() == at::kFloat;
  }

  template <typename T>
  static typename Kernel<T>::Forward kernel_call(const Call& c, const at::Tensor& output,
                                                 const at::Tensor& saved) {
    typename Kernel<T>::Forward p;
    p.extent = Op::extent_of(c);
    p.variant = Op::variant_of(c);
    for (const auto& slot : Kernel<T>::kTensors) {
      p.*slot.values = internal::read<T>(c.*slot.tensor);
    }
    p.reset = reinterpret_cast<const uint8_t*>(internal::read<bool>(c.reset));
    p.output = internal::write<T>(output);
    p.saved = internal::write<T>(saved);
    p.parallel = &kernel_parallel_for();
    return p;
  }

  template <typename T>
  static void forward_of(const Call& c, bool on_cpu_kernel, const Tensors& results) {
    auto p = kernel_call<T>(c, results.front(), results.back());
    size_t next = 1;
    for (const auto& slot : Kernel<T>::kStates)
      p.*slot.values = internal::write<T>(results[next++]);
    p.energy = internal::write<T>(results[next]);
    p.closed_loop = c.closed_loop;
    on_cpu_kernel ? Kernel<T>::forward_cpu(p) : Kernel<T>::forward_ref(p);
  }

  template <typename T>
  static void backward_of(const Call& c, bool on_cpu_kernel, const Tensors& grads,
                          const at::Tensor& output, const at::Tensor& saved,
                          const Tensors& gradients) {
    typename Kernel<T>::Backward p;
    p.forward = kernel_call<T>(c, output, saved);
    size_t next = 0;
    p.grad_output = internal::read<T>(grads[next++]);
    for (const auto& slot : Kernel<T>::kStates) p.*slot.gradient = internal::read<T>(grads[next++]);
    next = 0;
    for (const auto& slot : Kernel<T>::kTensors) {
      if (slot.gradient != nullptr) p.*slot.gradient = internal::write<T>(gradients[next++]);
    }
    on_cpu_kernel ? Kernel<T>::backward_cpu(p) : Kernel<T>::backward_ref(p);
  }
};

}  // namespace stpn::nn
