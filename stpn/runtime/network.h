// A trained network as the runtime reads it from a checkpoint (docs/formats.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "stpn/kernels/stpn/equations.h"

namespace stpn::runtime {

// A linear layer on the unit's activity.
struct Head {
  std::string name;
  int64_t size = 0;
  std::vector<float> weight, bias;  // (size, H), (size)
};

// A gate of the unit: a sigmoid of weight z + bias. weight (H, N) or (H, I), of the first
// presynaptic inputs; empty where the unit has no such gate.
struct Gate {
  std::vector<float> weight, bias;
};

// The shapes are those of stpn/kernels/stpn/signature.h, but for the rates: one a synapse or
// neuron, whatever the unit's option is, and with decay after the update gamma is Lambda Gamma.
struct Network {
  kernels::StpnVariant variant;
  kernels::Extent extent;                          // of one step of one sample
  std::vector<float> weight, bias, lambda, gamma;  // bias: of zeros where the unit has none
  std::vector<float> bias_lambda, bias_gamma, layer_norm_weight, layer_norm_bias;
  Gate update_gate, write_gate, decay_gate;
  std::vector<Head> heads;
};

// A checkpoint, or a run folder, of which the best weights count, else the last. Throws
// base::UserError, one line, for a file that is none, and for a network that the runtime cannot
// run.
Network read_network(const std::filesystem::path& path);

}  // namespace stpn::runtime
