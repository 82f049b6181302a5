#include "stpn/nn/rivals/gated_delta.h"

#include <cmath>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/nn/initialisation.h"
#include "stpn/ops/energy.h"
#include "stpn/ops/undispatched/gated_delta.h"

namespace stpn::nn {
namespace {

constexpr double kLengthEpsilon = 1e-6, kNormEpsilon = 1e-5;

torch::Tensor unit_length(const torch::Tensor& u) {
  return u * (u.square().sum(-1, /*keepdim=*/true) + kLengthEpsilon).rsqrt();
}

}  // namespace

// What the input decides: of the memories of all steps, and of the gate of what is read.
struct GatedDelta::Projections {
  torch::Tensor query, key;    // (T, B * heads, key_size)
  torch::Tensor value;         // (T, B * heads, value_size)
  torch::Tensor decay, write;  // (T, B * heads)
  torch::Tensor gate;          // (T, B, H)
};

std::vector<base::Field> GatedDeltaOptions::fields() {
  return {
      base::field("hidden_size", hidden_size, "values of all heads; more hold more",
                  {.least = 1, .most = kMostNeurons}),
      base::field("heads", heads, "memories of their own; must divide hidden_size",
                  {.least = 1, .most = kMostNeurons}),
      base::field("key_size", key_size, "values of a key of one head; more hold more pairs",
                  {.least = 1, .most = kMostNeurons}),
      base::field(
          "negative_eigenvalues", negative_eigenvalues,
          "whether a write may reverse the sign of what is stored, which state tracking needs"),
  };
}

std::shared_ptr<Unit> GatedDeltaOptions::make(int64_t input_size) const {
  return make_unit<GatedDelta>(input_size, *this);
}

GatedDelta::GatedDelta(int64_t input_size, const GatedDeltaOptions& options)
    : Unit(input_size, options.hidden_size),
      heads_(options.heads),
      key_size_(options.key_size),
      most_write_(options.negative_eigenvalues ? 2 : 1) {
  const int64_t H = hidden_size();
  STPN_CHECK(input_size >= 1, "input_size is {}", input_size);
  STPN_CHECK(H >= 1 && heads_ >= 1 && key_size_ >= 1,
             "hidden_size is {}, heads is {}, key_size is {}", H, heads_, key_size_);
  STPN_CHECK(H % heads_ == 0, "heads = {} must divide hidden_size = {}", heads_, H);
  const auto zeros = [&](const char* name, std::vector<int64_t> shape) {
    return register_parameter(name, torch::zeros(shape));
  };
  query_weight_ = zeros("query_weight", {heads_ * key_size_, input_size});
  key_weight_ = zeros("key_weight", {heads_ * key_size_, input_size});
  value_weight_ = zeros("value_weight", {H, input_size});
  gate_weight_ = zeros("gate_weight", {H, input_size});
  decay_weight_ = zeros("decay_weight", {heads_, input_size});
  write_weight_ = zeros("write_weight", {heads_, input_size});
  decay_log_ = zeros("decay_log", {heads_});
  decay_bias_ = zeros("decay_bias", {heads_});
  norm_weight_ = zeros("norm_weight", {value_size()});
}

GatedDelta::Projections GatedDelta::project(const torch::Tensor& x) const {
  const int64_t T = x.size(0), BH = x.size(1) * heads_, keys = heads_ * key_size_;
  // One matrix product is faster than six.
  const std::vector<torch::Tensor> parts =
      at::linear(x, at::cat({query_weight_, key_weight_, value_weight_, gate_weight_, decay_weight_,
                             write_weight_}))
          .split_with_sizes({keys, keys, hidden_size(), hidden_size(), heads_, heads_}, -1);
  const torch::Tensor pace = at::softplus(parts[4] + decay_bias_);
  return {.query = unit_length(at::silu(parts[0]).view({T, BH, key_size_})),
          .key = unit_length(at::silu(parts[1]).view({T, BH, key_size_})),
          .value = at::silu(parts[2]).view({T, BH, value_size()}),
          .decay = (-decay_log_.exp() * pace).exp().view({T, BH}),
          .write = (most_write_ * at::sigmoid(parts[5])).view({T, BH}),
          .gate = at::silu(parts[3])};
}

UnitOutput GatedDelta::forward(const UnitInput& all_input) {
  check_input(all_input);
  const UnitInput input = walk_through(all_input);
  const int64_t T = input.x.size(0), B = input.x.size(1), H = hidden_size();
  const Projections from = project(input.x);
  const State before = input.state.empty() ? initial_state(B) : input.state;
  const ops::GatedDeltaOutputs memory = ops::run_gated_delta(
      {.query = from.query,
       .key = from.key,
       .value = from.value,
       .decay = from.decay,
       .write = from.write,
       .state = before[0].second.reshape({B * heads_, value_size(), key_size_}),
       .reset = input.reset},
      input.energy);
  const torch::Tensor read = memory.read / std::sqrt(static_cast<double>(key_size_));
  const torch::Tensor norm =
      (read.square().mean(-1, /*keepdim=*/true) + kNormEpsilon).rsqrt() * norm_weight_;
  UnitOutput output;
  output.y = (read * norm).view({T, B, H}) * from.gate;
  output.state.emplace_back("S", memory.state.view({B, H, key_size_}));
  if (input.energy) output.energy = energy_of(input.x, memory.energy);
  return output;
}

torch::Tensor GatedDelta::energy_of(const torch::Tensor& x, const torch::Tensor& of_state) const {
  const int64_t T = x.size(0), B = x.size(1);
  torch::Tensor counted;
  if (measured().defined()) counted = measured().slice(0, 0, input_size());
  const auto of_weight = [&](const torch::Tensor& weight) {
    return ops::energy_of_fixed_weights(weight, x, counted);
  };
  torch::Tensor of_heads = of_weight(decay_weight_) + of_weight(write_weight_);
  for (const torch::Tensor& weight : {query_weight_, key_weight_}) {
    of_heads = of_heads + of_weight(weight).view({T, B, heads_, key_size_}).sum(3);
  }
  return of_weight(value_weight_) + of_weight(gate_weight_) +
         (of_heads / value_size()).repeat_interleave(value_size(), 2) +
         of_state.view({T, B, hidden_size()});
}

StateShapes GatedDelta::state_shapes() const { return {{"S", {hidden_size(), key_size_}}}; }

void GatedDelta::reset_parameters(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  const double bound = 1 / std::sqrt(static_cast<double>(input_size()));
  uint64_t index = 0;
  for (const torch::Tensor& weight :
       {query_weight_, key_weight_, value_weight_, gate_weight_, decay_weight_, write_weight_}) {
    uniform_(weight, -bound, bound, seed, index++);
  }
  uniform_(decay_log_, 1, 16, seed, index++);
  decay_log_.log_();
  uniform_(decay_bias_, std::log(0.001), std::log(0.1), seed, index++);
  decay_bias_.exp_().expm1_().log_();  // the inverse of softplus
  norm_weight_.fill_(1);
}

}  // namespace stpn::nn
