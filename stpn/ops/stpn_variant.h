// Which variant of the short-term plasticity neuron: the words of its options and of its op.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::nn {

struct StpnVariant {
  std::string norm = "pre";  // none | drive | pre | post
  double clamp = std::numeric_limits<double>::infinity();
  std::string connections = "all";       // all | input | recurrent
  std::string rule = "hebb";             // hebb | oja
  std::string decay = "before_update";   // before_update | after_update
  std::string presynaptic = "previous";  // previous | current
  std::string activation = "tanh";       // tanh | sigmoid | relu | identity
};

// Bound to its members; without a recurrent drive, `connections` and `presynaptic` are left out.
std::vector<base::Field> fields_of(StpnVariant& variant, bool recurrent);

// Throws base::UserError for a word that is none of the choices.
kernels::StpnVariant kernel_variant(const StpnVariant& variant, bool recurrent);

}  // namespace stpn::nn
