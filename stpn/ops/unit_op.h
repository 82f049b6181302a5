// The torch ops of one fused unit, for all that does not depend on its types: schema, checks,
// dispatch, autograd, shape inference. A unit derives from TypedOp (stpn/ops/typed_op.h).
//
// A unit NAME has three ops. Users call stpn::NAME, which takes the signature's arguments and is
// differentiable once. With plain tensors it calls the kernels directly. Under torch.compile,
// export, torch.func or a dispatch mode it calls the other two ops, which these can trace:
// stpn::NAME_forward and, in backward, stpn::NAME_backward. Their arguments are packed into lists,
// so that the same code serves all units.
#pragma once

#include <c10/core/SymInt.h>
#include <torch/library.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/kernels/closed_loop.h"
#include "stpn/kernels/extent.h"
#include "stpn/kernels/saved_bound.h"
#include "stpn/kernels/signature.h"
#include "stpn/ops/packed_op.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/signature_text.h"

namespace stpn::ops {

using Tensors = std::vector<at::Tensor>;
using Shape = std::vector<int64_t>;

// A call of an op, parsed.
struct Call {
  Tensors tensors;              // one for each row of the signature; undefined: absent
  at::Tensor reset;             // (T, B) bool, or undefined
  std::vector<double> options;  // one for each row; of a choice, its index
  bool energy = false;
  bool final_states = true;  // false: on the CPU they may be empty
  // Writes x and reset while forward runs; null: they are complete.
  kernels::ClosedLoop* closed_loop = nullptr;
};

// The sizes of a call. While a graph is traced T and B may be symbols, and the graph is one for all
// lengths and batches. The extent then has 1 in their place.
struct CallSizes {
  kernels::Extent extent;
  c10::SymInt steps, batch;
};

// A call that was checked and planned once, for its float type and backend: forward, shape
// inference and backward read it. Holds no tensors.
class PreparedCall {
 public:
  PreparedCall(Backend the_backend, const CallSizes& the_sizes)
      : backend(the_backend), sizes(the_sizes), extent(the_sizes.extent) {}
  virtual ~PreparedCall() = default;

  // `results`: output, final states, energy, saved; written. REQUIRES: all tensors contiguous.
  virtual void forward(const Call& call, const Tensors& results) const = 0;
  // `grads`: of the output, the final states and the energy, undefined for zero. `gradients`: one
  // for each row; undefined if not wanted. REQUIRES: all tensors contiguous, of the shapes of the
  // forward call.
  virtual void backward(const Call& call, const Tensors& grads, const at::Tensor& output,
                        const at::Tensor& saved, const Tensors& gradients) const = 0;

  // At least saved_size, for all T and B; in traced graphs.
  virtual c10::SymInt saved_bound() const = 0;

  Shape output_shape() const { return {extent.steps, extent.batch, extent.hidden}; }

  const Backend backend;
  const CallSizes sizes;
  const kernels::Extent extent;
  std::vector<Shape> state_shapes;  // of the final states; {0} for one that the variant lacks
  int64_t saved_size = 0;           // what this backend saves for backward
};

// A size of a tensor as a plain number. A symbolic size (tracing) is specialised to its value.
int64_t length(const at::Tensor& tensor, int64_t dimension);

// T and B are those of x (T, B, I).
CallSizes sizes_of(const at::Tensor& x, int64_t inputs, int64_t hidden);

class UnitOp {
 public:
  explicit UnitOp(const kernels::Signature& signature);
  virtual ~UnitOp();
  UnitOp(const UnitOp&) = delete;
  UnitOp& operator=(const UnitOp&) = delete;

  const kernels::Signature& signature() const { return signature_; }

  // Registers the three ops; has to be called before run. The object must outlive the library `m`.
  void define(torch::Library& m);

  // Output, final states, energy; empty where there is none. Where the tensors are, unless there is
  // a KernelDeviceGuard. Throws base::UserError for wrong shapes, dtypes, devices and options.
  Tensors run(const Call& call) const;

  // What stpn::NAME_forward does: output, final states, energy, saved (of the size of
  // saved_bound()). `real`: false for shape inference, which writes no values.
  Tensors forward(const Call& call, Backend backend, bool save, bool real) const;
  // What stpn::NAME_backward does: a gradient for each row, undefined where it is not needed.
  // `grads`: of the output, the final states and the energy, undefined for zero.
  Tensors backward(const Call& call, Backend backend, const Tensors& grads,
                   const at::Tensor& output, const at::Tensor& saved,
                   const std::vector<bool>& needed, bool real) const;
  // The same two ops as autograd sees them: their results are in its graph. Those of backward
  // cannot be differentiated.
  Tensors record_forward(const Call& call, Backend backend, bool save) const;
  Tensors record_backward(const Call& call, Backend backend, const Tensors& grads,
                          const at::Tensor& output, const at::Tensor& saved,
                          const std::vector<bool>& needed) const;
  // Backward, for autograd's graph. Uses the call as `run` prepared it; if `run` was traced
  // (`prepared` is null), or if backward is being traced now, goes through the dispatcher.
  Tensors differentiate(const Call& call, Backend backend, const PreparedCall* prepared,
                        const Tensors& grads, const at::Tensor& output, const at::Tensor& saved,
                        const std::vector<bool>& needed) const;

 protected:
  // Checks and plans a call on a backend.
  virtual std::shared_ptr<const PreparedCall> prepare(const Call& call, Backend backend) const = 0;
  // Completes the energy of a call, if the op counts more than the kernel does; differentiable.
  virtual void add_energy(const Call&, Tensors&) const {}

  // These throw base::UserError. check_presence: unless all required tensors are given, and none
  // that the op does not take. check_dimensions: unless the tensor has as many dimensions as
  // `layout` names, "(T, B, I)". check_tensors: unless all tensors have the same float type and
  // device, and the signature's shapes; size_of(letter) says the size that a letter stands for.
  void check_presence(const Call& call) const;
  void check_dimensions(const char* name, const at::Tensor& tensor, const char* layout) const;
  template <typename SizeOf>
  void check_tensors(const Call& call, const CallSizes& of_call, const SizeOf& size_of) const {
    Sizes sizes(of_call);
    for (const char letter : letters_) sizes[letter] = size_of(letter);
    check_shapes(call, sizes);
  }

 private:
  struct Sizes {
    explicit Sizes(const CallSizes& of_call) : call(of_call) {}
    int64_t& operator[](char letter) { return of[static_cast<int>(letter)]; }
    c10::SymInt at(char letter) const {
      if (letter == 'T') return call.steps;
      return letter == 'B' ? call.batch : c10::SymInt(of[static_cast<int>(letter)]);
    }
    const CallSizes& call;
    int64_t of[128];
  };

  Call call_of(c10::ArrayRef<c10::IValue> arguments) const;
  bool is_differentiable(const Call& call) const;
  Tensors run_in_place(const Call& call) const;
  Tensors run_on(c10::Device device, Call call) const;
  Tensors run_plain(const Call& call, Backend backend) const;
  void run_boxed(std::vector<c10::IValue>& stack) const;
  void check_shapes(const Call& call, const Sizes& sizes) const;
  [[noreturn]] void fail_shape(const Call& call, size_t row, const Sizes& sizes) const;
  void check_grads(const Call& call, const PreparedCall& prepared, const Tensors& grads,
                   const at::Tensor& output, const at::Tensor& saved) const;
  Tensors empty_results(const Call& call, const PreparedCall& prepared, int64_t saved) const;
  Tensors empty_symbolic_results(const Call& call, const PreparedCall& prepared, bool save) const;
  Tensors empty_gradients(const Call& call, const std::vector<bool>& needed) const;
  Tensors run_backward(const Call& call, const PreparedCall& prepared, const Tensors& grads,
                       const at::Tensor& output, const at::Tensor& saved,
                       const std::vector<bool>& needed) const;

  const kernels::Signature& signature_;
  const std::vector<Argument> arguments_;
  // For each row, the alternatives of its shape, a letter for each dimension.
  std::vector<std::vector<std::string>> shapes_;
  std::string letters_;                     // the letters that occur in shapes_
  std::vector<std::string> state_names_;    // of the tensors that have a final value
  std::unique_ptr<const PackedOp> packed_;  // null: not defined yet
};

}  // namespace stpn::ops
