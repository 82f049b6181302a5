// A GRU beside a recurrent STPN: both read the input, neither reads the other, and the output has
// the neurons of both. What a unit that couples activity and plasticity has to be better than.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/nn/library/gru.h"
#include "stpn/nn/stpn/stpn_recurrent.h"
#include "stpn/nn/unit.h"

namespace stpn::nn {

// Besides gru_size the options are those of the STPN, but hidden_size is the neurons of both.
struct GruBesideStpnOptions : StpnRecurrentOptions {
  int64_t gru_size = 4;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Submodules: gru and stpn, with their parameters. Output: (T, B, hidden_size), the GRU first.
// State: that of both, with gru_ and stpn_ before the names. Energy: of both, one after the other.
class GruBesideStpn : public Unit {
 public:
  // Throws base::UserError unless both have a neuron.
  GruBesideStpn(int64_t input_size, const GruBesideStpnOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  StateShapes state_shapes() const override;
  void reset_parameters(uint64_t seed) override;
  Initialisation initialisation() const override { return stpn_->initialisation(); }
  void keep_in_bounds() override { stpn_->keep_in_bounds(); }
  void leave_out_of_energy(const std::vector<int64_t>& inputs) override;

 private:
  const torch::Tensor& any_parameter() const override { return any_parameter_; }

  std::shared_ptr<Unit> gru_, stpn_;
  torch::Tensor any_parameter_;
};

}  // namespace stpn::nn
