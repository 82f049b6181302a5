// The checks of a call: each throws base::UserError.
#include <algorithm>
#include <string>
#include <string_view>

#include "stpn/base/error.h"
#include "stpn/ops/unit_op.h"

namespace stpn::ops {

using kernels::Given;
using kernels::TensorSpec;

void UnitOp::check_grads(const Call& call, const PreparedCall& prepared, const Tensors& grads,
                         const at::Tensor& output, const at::Tensor& saved) const {
  const auto check = [&](const std::string& name, const at::Tensor& tensor, const Shape& shape) {
    if (!tensor.defined()) return;
    STPN_CHECK(tensor.sizes() == at::IntArrayRef(shape) &&
                   tensor.scalar_type() == call.tensors.front().scalar_type(),
               "{}: {} is {} {}, wants {} {}", signature_.name, name,
               c10::toString(tensor.scalar_type()), c10::str(tensor.sizes()),
               c10::toString(call.tensors.front().scalar_type()), c10::str(at::IntArrayRef(shape)));
  };
  STPN_CHECK(grads.size() == 2 + state_names_.size(), "{}: {} grads, wants {}", signature_.name,
             grads.size(), 2 + state_names_.size());
  check("grad_output", grads[0], prepared.output_shape());
  for (size_t k = 0; k < state_names_.size(); ++k) {
    check("grad_" + state_names_[k], grads[1 + k], prepared.state_shapes[k]);
  }
  check("grad_energy", grads.back(), prepared.output_shape());
  check("output", output, prepared.output_shape());
  check("saved", saved, {prepared.saved_bound().expect_int()});
}

void UnitOp::check_dimensions(const char* name, const at::Tensor& tensor,
                              const char* layout) const {
  const std::string_view names = layout;
  const auto wanted = std::count(names.begin(), names.end(), ',') + 1;
  STPN_CHECK(tensor.dim() == wanted, "{}: {} has {} dimensions, wants {}: {}", signature_.name,
             name, tensor.dim(), wanted, layout);
}

void UnitOp::check_presence(const Call& call) const {
  STPN_CHECK(call.tensors.size() == signature_.tensors.size() &&
                 call.options.size() == signature_.options.size(),
             "{}: {} tensors and {} options, wants {} and {}", signature_.name, call.tensors.size(),
             call.options.size(), signature_.tensors.size(), signature_.options.size());
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    const TensorSpec& spec = signature_.tensors[row];
    const bool taken = takes(signature_, spec.name);
    const bool given = call.tensors[row].defined();
    STPN_CHECK(taken || !given, "{} takes no {}", signature_.name, spec.name);
    STPN_CHECK(!taken || given || spec.given != Given::required, "{}: {} is missing",
               signature_.name, spec.name);
  }
}

void UnitOp::check_shapes(const Call& call, const Sizes& sizes) const {
  const at::Tensor& x = call.tensors.front();
  const at::ScalarType type = x.scalar_type();
  STPN_CHECK(type == at::kFloat || type == at::kDouble, "{}: x is {}, wants float or double",
             signature_.name, c10::toString(type));
  const auto check_type = [&](const char* name, const at::Tensor& tensor, at::ScalarType wanted) {
    STPN_CHECK(tensor.scalar_type() == wanted, "{}: {} is {}, wants {}", signature_.name, name,
               c10::toString(tensor.scalar_type()), c10::toString(wanted));
    STPN_CHECK(tensor.device() == x.device(), "{}: {} is on {}, x on {}", signature_.name, name,
               tensor.device().str(), x.device().str());
  };
  const auto fits = [&](const at::Tensor& tensor, const std::string& letters) {
    bool same = tensor.dim() == static_cast<int64_t>(letters.size());
    for (size_t k = 0; same && k < letters.size(); ++k) {
      same = tensor.sym_size(static_cast<int64_t>(k)) == sizes.at(letters[k]);
    }
    return same;
  };
  for (size_t row = 0; row < call.tensors.size(); ++row) {
    const at::Tensor& tensor = call.tensors[row];
    if (!tensor.defined()) continue;
    check_type(signature_.tensors[row].name, tensor, type);
    const bool right =
        std::any_of(shapes_[row].begin(), shapes_[row].end(),
                    [&](const std::string& letters) { return fits(tensor, letters); });
    if (!right) fail_shape(call, row, sizes);
  }
  if (!call.reset.defined()) return;
  check_type("reset", call.reset, at::kBool);
  STPN_CHECK(fits(call.reset, "TB"), "{}: reset has shape {}, wants (T, B) = [{}, {}]",
             signature_.name, c10::str(call.reset.sym_sizes()), c10::str(sizes.call.steps),
             c10::str(sizes.call.batch));
}

void UnitOp::fail_shape(const Call& call, size_t row, const Sizes& sizes) const {
  const at::Tensor& tensor = call.tensors[row];
  std::string wanted;
  for (const std::string& letters : shapes_[row]) {
    std::vector<c10::SymInt> shape;
    for (const char letter : letters) shape.push_back(sizes.at(letter));
    wanted += (wanted.empty() ? "" : " or ") + c10::str(c10::SymIntArrayRef(shape));
  }
  const at::Tensor& x = call.tensors.front();
  const bool is_state = signature_.tensors[row].is_state();
  const bool batch_first = is_state && tensor.dim() > 0 && tensor.sym_size(0) == x.sym_size(0) &&
                           tensor.sym_size(0) != x.sym_size(1);
  throw base::UserError(fmt::format(
      "{}: {} has shape {}, wants {} = {}{}", signature_.name, signature_.tensors[row].name,
      c10::str(tensor.sym_sizes()), shape_text(signature_.tensors[row].shape), wanted,
      batch_first
          ? fmt::format(", because x has shape {}: x must be (T, B, I), with time first; is it "
                        "batch first?",
                        c10::str(x.sym_sizes()))
      : &tensor == &x ? "; I follows from the weights, and x is (T, B, I), with time first"
                      : "; T and B are those of x, with time first, H and I those of the weights"));
}

}  // namespace stpn::ops
