// Gated delta rule: a linear memory, whose state is read, corrected and decays, all of it decided
// by the input alone. With eigenvalues from -1 to 1 it can track states as well as remember.
//
//   q = l2(silu(W_q x[t])),  k = l2(silu(W_k x[t])),  v = silu(W_v x[t])        of each head
//   a = exp(-exp(decay_log) softplus(w_a x[t] + decay_bias))                    decay, in (0, 1)
//   b = 2 sigmoid(w_b x[t])                                                     write, in (0, 2)
//   S[t] = a S[t-1] + b (v - a S[t-1] k) k'
//   h[t] = norm_weight rms(S[t] q / sqrt(key_size)) silu(W_g x[t])
//
// l2(u) = u / sqrt(|u|^2 + 1e-6), rms(u) = u / sqrt(mean(u^2) + 1e-5), both within a head. The
// factor of S[t-1], a (I - b k k'), has the eigenvalues a and a (1 - b); without
// `negative_eigenvalues` b is sigmoid(w_b x[t]), and none is negative.
//
// Yang, Kautz, Hatamizadeh: Gated Delta Networks, ICLR 2025; negative eigenvalues: Grazzi, Siems,
// Zela, Franke, Hutter, Pontil: Unlocking State-Tracking in Linear RNNs Through Negative
// Eigenvalues, ICLR 2025. Differences: no short convolution before q, k and v, because the tasks
// here show a key and its value in one step; and no output projection, because a linear head
// follows. S has a kernel (stpn/ops/undispatched/gated_delta.h); all else is made of libtorch's
// operations, for all steps at once.
//
// Energy of a neuron: sum over j of (|W_v,ij| + |W_g,ij|) x_j^2, a share of the same for q, k, a
// and b of its head, divided equally among the head's neurons, and sum over j of |S[t-1]_ij| (k_j^2
// + q_j^2).
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/nn/unit.h"
#include "stpn/nn/unit_registry.h"

namespace stpn::nn {

struct GatedDeltaOptions : UnitOptions {
  int64_t hidden_size = 64, heads = 1, key_size = 16;
  bool negative_eigenvalues = true;

  std::vector<base::Field> fields() override;
  std::shared_ptr<Unit> make(int64_t input_size) const override;
};

// Parameters by name: query_weight and key_weight (heads * key_size, I), value_weight and
// gate_weight (H, I), decay_weight and write_weight (heads, I), all ~ U(+-1/sqrt(I)); decay_log
// (heads), the logarithm of U(1, 16); decay_bias (heads), for which softplus is exp(U(log 0.001,
// log 0.1)); norm_weight (H / heads), 1. State: S (B, H, key_size).
class GatedDelta : public Unit {
 public:
  // Throws base::UserError unless `heads` divides hidden_size.
  GatedDelta(int64_t input_size, const GatedDeltaOptions& options);

  UnitOutput forward(const UnitInput& input) override;
  StateShapes state_shapes() const override;
  void reset_parameters(uint64_t seed) override;

 private:
  struct Projections;
  Projections project(const torch::Tensor& x) const;
  // Of the synapses of x, and `of_state` (T, B * heads, value_size), that of the state.
  torch::Tensor energy_of(const torch::Tensor& x, const torch::Tensor& of_state) const;

  int64_t value_size() const { return hidden_size() / heads_; }

  int64_t heads_, key_size_;
  double most_write_;
  torch::Tensor query_weight_, key_weight_, value_weight_, gate_weight_, decay_weight_,
      write_weight_, decay_log_, decay_bias_, norm_weight_;
};

}  // namespace stpn::nn
