// What of a fused unit's op does not depend on the unit's types: checks, dispatch, autograd, shape
// inference. Units use sequence_op.h.
#pragma once

#include <torch/library.h>
#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stpn/kernels/closed_loop.h"

namespace stpn::nn {

using Shape = std::vector<int64_t>;

// That of a result there is none of.
inline const Shape kNone{0};

enum class Given { always, maybe };

struct SequenceShapes {
  std::vector<Shape> tensors;  // of those that are not given: anything
  Shape output;                // (T, B, H); energy has it too
  std::vector<Shape> states;
};

// A size that is a plain number; a symbolic one (tracing) is fixed to what it stands for.
int64_t length(const at::Tensor& tensor, int64_t dimension);

// `layout` names the dimensions: "(T, B, I)".
void check_dimensions(const char* op, const char* name, const at::Tensor& tensor,
                      const char* layout);

// Throws unless `tensor` is undefined, or of this type and shape and on the device of `first`.
void check_tensor(const std::string& op, const std::string& name, const at::Tensor& tensor,
                  at::ScalarType type, const Shape& shape, const at::Tensor& first,
                  const char* first_name);

using Tensors = std::vector<at::Tensor>;

// A Call as the dispatcher takes it.
struct SequenceArguments {
  Tensors tensors;  // as in kTensors, then reset
  std::vector<std::string> words;
  std::vector<double> numbers;
  bool energy = false;
  kernels::ClosedLoop* closed_loop = nullptr;  // the dispatcher does not take it
};

class AnySequenceOp {
 public:
  virtual ~AnySequenceOp();

 protected:
  struct TensorInfo {
    const char* name;
    Given given;
  };
  struct Info {
    const char* name;
    std::vector<TensorInfo> tensors;
    size_t gradients;  // so many of the first tensors have one
    std::vector<const char*> states;
    size_t words, numbers;
  };

  explicit AnySequenceOp(Info info);

  // Output, final states, energy.
  Tensors run_any(const SequenceArguments& arguments) const;
  // The library keeps `this`. REQUIRES: before run_any.
  void define_any(torch::Library& m);

  // REQUIRES: as many tensors, words and numbers as there should be; those always given are.
  virtual SequenceShapes shapes(const SequenceArguments& arguments) const = 0;
  // REQUIRES, from here on: shapes, dtypes and devices are right.
  virtual void check_call(const SequenceArguments& arguments) const = 0;
  virtual int64_t saved_size(const SequenceArguments& arguments) const = 0;
  // Results: output, final states, energy, kept. REQUIRES, of all tensors: contiguous.
  virtual void forward(const SequenceArguments& arguments, bool on_cpu_kernel,
                       const Tensors& results) const = 0;
  virtual void backward(const SequenceArguments& arguments, bool on_cpu_kernel,
                        const Tensors& grads, const at::Tensor& output, const at::Tensor& saved,
                        const Tensors& gradients) const = 0;

 private:
  class CallNode;
  struct Registered;

  SequenceShapes check(const SequenceArguments& arguments) const;
  Tensors empty_results(const SequenceArguments& arguments, bool save) const;
  Tensors call_forward(const SequenceArguments& arguments, bool save) const;
  Tensors run_forward(SequenceArguments arguments, bool save) const;
  Tensors empty_gradients(const SequenceArguments& arguments, const c10::List<bool>& needed) const;
  // `grads`: of the output and the final states; undefined: zero. An undefined gradient: not
  // needed.
  Tensors run_backward(SequenceArguments arguments, Tensors grads, const at::Tensor& output,
                       const at::Tensor& saved, const c10::List<bool>& needed) const;

  Info info_;
  std::unique_ptr<const Registered> registered_;
};

}  // namespace stpn::nn
