// The torch op stpn::backpropamine as C++ calls it. Differentiable once; asking for second
// derivatives throws. Equations: stpn/kernels/backpropamine/equations.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/kernels/backpropamine/equations.h"

namespace stpn::nn {

// Which variant: the words of the unit's options and of its op.
struct BackpropamineWords {
  std::string neuromodulation = "modplast";  // modplast | plastic | modul
  std::string addition = "clamp";            // clamp | soft_clamp | additive | decaying
  std::string modulator = "tanh";            // tanh | sigmoid | linear; plastic has none
};

// Bound to its members.
std::vector<base::Field> fields_of(BackpropamineWords& words);

// Throws base::UserError for a word that is none of the choices.
kernels::BackpropamineVariant kernel_variant(const BackpropamineWords& words);

// An undefined tensor is not given.
struct BackpropamineCall : BackpropamineWords {
  at::Tensor x;                                 // (T, B, I)
  at::Tensor h;                                 // (B, H)
  at::Tensor P;                                 // (B, H, H)
  at::Tensor E;                                 // (B, H, H); modul only
  at::Tensor weight_ih;                         // (H, I)
  at::Tensor bias;                              // (H)
  at::Tensor weight_hh;                         // (H, H)
  at::Tensor alpha;                             // (H, H)
  at::Tensor modulator_weight, modulator_bias;  // (H), (1); modplast and modul only
  at::Tensor rate;                              // (1); plastic and modul only
  at::Tensor measured;                          // (I), 0 or 1: inputs that count as energy, or none
  at::Tensor reset;                             // (T, B) bool, or none
  bool energy = false;
  kernels::ClosedLoop* closed_loop =
      nullptr;  // writes x and reset as it goes; null: they are complete
};

struct BackpropamineResult {
  at::Tensor output;  // (T, B, H); its last step is the final h
  at::Tensor P;       // (B, H, H)
  at::Tensor E;       // (B, H, H), or empty without a trace
  at::Tensor energy;  // (T, B, H), of inputs and recurrent synapses, or empty unless asked for
};

// Throws base::UserError for wrong shapes, dtypes, devices and words.
BackpropamineResult backpropamine(const BackpropamineCall& call);

}  // namespace stpn::nn
