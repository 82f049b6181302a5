#include "stpn/ops/units/signatures.h"

#include <fmt/format.h>
#include <torch/library.h>

#include "stpn/base/error.h"
#include "stpn/kernels/backpropamine/signature.h"
#include "stpn/kernels/fast_weights/signature.h"
#include "stpn/kernels/stpn/signature.h"
#include "stpn/ops/signature_text.h"

namespace stpn::ops {

const std::vector<const kernels::Signature*>& all_signatures() {
  static const std::vector<const kernels::Signature*> table{
      &kernels::kStpnRecurrent, &kernels::kStpnFeedforward, &kernels::kBackpropamine,
      &kernels::kFastWeights};
  return table;
}

std::string describe(const std::string& name) {
  for (const kernels::Signature* signature : all_signatures()) {
    if (signature->name == name) {
      return fmt::format("stpn::{}\n{}", schema_of(*signature), description_of(*signature));
    }
  }
  throw base::UserError(fmt::format("there is no op \"{}\"", name));
}

TORCH_LIBRARY_FRAGMENT(stpn, m) { m.def("describe(str name) -> str", describe); }

}  // namespace stpn::ops
