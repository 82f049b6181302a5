// All ops of fused units, in one table.
#pragma once

#include <string>
#include <vector>

#include "stpn/kernels/signature.h"

namespace stpn::ops {

// In the order they are listed.
const std::vector<const kernels::Signature*>& all_signatures();

// "stpn::NAME(Tensor x, ...) -> (...)", and a line for each argument and result. Throws
// base::UserError if there is no such op. Python: torch.ops.stpn.describe(NAME).
std::string describe(const std::string& name);

}  // namespace stpn::ops
