// The recurrent short-term plasticity neuron as a torch module; its op is stpn::stpn_recurrent.
// Equations, variants and their sources: stpn/kernels/stpn/equations.h.
#pragma once

#include <cstdint>
#include <memory>

#include "stpn/nn/stpn/stpn_unit.h"

namespace stpn::nn {

struct StpnRecurrentOptions : StpnOptions {
  StpnRecurrentOptions() : StpnOptions(/*recurrent=*/true, /*neurons=*/11) {}
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

class StpnRecurrent : public StpnUnit {
 public:
  StpnRecurrent(int64_t input_size, const StpnRecurrentOptions& options)
      : StpnUnit(input_size, options) {}
};

}  // namespace stpn::nn
