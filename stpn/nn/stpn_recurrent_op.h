// The torch op stpn::stpn_recurrent as C++ calls it. Differentiable once; asking for second
// derivatives throws. Equations and shapes: stpn/kernels/stpn_recurrent.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <string>

#include "stpn/kernels/stpn_recurrent.h"

namespace stpn::nn {

using OptionalTensor = std::optional<at::Tensor>;

// Shapes say part of the variant: weight_lambda and weight_gamma are (H, P), (P) or (1);
// bias_lambda and bias_gamma (H) or (1); with beta there is a plastic bias, with layer_norm_weight
// a layer norm.
struct StpnRecurrentCall {
  at::Tensor x;         // (T, B, I)
  at::Tensor h;         // (B, H)
  at::Tensor F;         // (B, H, P)
  OptionalTensor beta;  // (B, H)
  at::Tensor weight;    // (H, I+H)
  OptionalTensor bias;  // (H)
  at::Tensor weight_lambda, weight_gamma;
  OptionalTensor layer_norm_weight, layer_norm_bias;  // (H)
  OptionalTensor bias_lambda, bias_gamma;
  OptionalTensor reset;         // (T, B) bool
  OptionalTensor measured;      // (I+H), 0 or 1: sources that count as energy; none: all
  std::optional<double> clamp;  // above 0; none: no bound
  // As StpnRecurrentOptions spells them: norm, connections, rule, decay, presynaptic, activation.
  std::array<std::string, 6> words;
  bool energy = false;
};

struct StpnRecurrentResult {
  at::Tensor output;  // (T, B, H); its last step is the final h
  at::Tensor F;       // (B, H, P)
  at::Tensor beta;    // (B, H), or empty without a plastic bias
  at::Tensor energy;  // (T, B, H), or empty unless asked for
};

// Throws base::UserError for wrong shapes, dtypes, devices and words.
StpnRecurrentResult stpn_recurrent(const StpnRecurrentCall& call);

// The kernel's variant that words, clamp and the presence of tensors mean; rates are left to the
// caller.
kernels::StpnRecurrentVariant variant_of_words(const std::array<std::string, 6>& words);

}  // namespace stpn::nn
