#include "stpn/train/algorithms/ppo/ppo_loss.h"

#include <algorithm>
#include <cmath>

namespace stpn::train {
namespace {

struct ValueTerm {
  double term, slope;  // and its derivative by v
};

ValueTerm value_term(const PpoOptions& options, double v, double old, double target) {
  const double error = v - target, bound = options.value_clip;
  const ValueTerm plain = {error * error, 2 * error};
  if (options.value_clipping == "error") {
    return plain.term <= bound ? plain : ValueTerm{bound, 0};
  }
  if (options.value_clipping == "none") return plain;
  const double change = v - old;
  const double clipped = old + std::clamp(change, -bound, bound) - target;
  if (clipped * clipped <= plain.term) return plain;
  return {clipped * clipped, std::abs(change) <= bound ? 2 * clipped : 0};
}

// At step `row` of (T, E).
nn::PolicyAction action_at(const PpoBatch& batch, int64_t row) {
  if (batch.choice.defined()) return {.choice = batch.choice.const_data_ptr<int64_t>()[row]};
  return {.numbers = batch.numbers.const_data_ptr<double>() + row * batch.numbers.size(2)};
}

}  // namespace

void PpoSums::add(const PpoSums& other) {
  policy += other.policy;
  value += other.value;
  entropy += other.entropy;
  divergence += other.divergence;
  clipped += other.clipped;
  steps += other.steps;
}

double PpoSums::loss(const PpoOptions& options, double kl_weight) const {
  return (policy + options.value_weight * value - options.entropy_weight * entropy +
          kl_weight * divergence) /
         steps;
}

PpoSums ppo_loss(const PpoOptions& options, double kl_weight, const nn::StepPolicy& policy,
                 const PpoBatch& batch, const std::vector<Sequence>& sequences,
                 const torch::Tensor& outputs, const torch::Tensor& value, double minibatch_steps,
                 torch::Tensor d_outputs, torch::Tensor d_value) {
  const int64_t L = value.size(0), B = value.size(1), width = outputs.size(2);
  d_outputs.zero_();
  d_value.zero_();
  PpoSums sums;
  for (int64_t t = 0; t < L; ++t) {
    for (int64_t b = 0; b < B; ++b) {
      const int64_t here = t * B + b;
      const int64_t there =
          (sequences[b].begin + t) * batch.environments() + sequences[b].environment;  // of (T, E)
      if (!batch.acted.const_data_ptr<bool>()[there]) continue;
      const double* const now = outputs.const_data_ptr<double>() + here * width;
      const double* const old = batch.outputs.const_data_ptr<double>() + there * width;
      const nn::PolicyAction action = action_at(batch, there);
      const nn::PolicyTerms terms = policy.terms(now, old, action);

      const double ratio =
          std::exp(terms.log_prob - batch.log_prob.const_data_ptr<double>()[there]);
      const double advantage = batch.advantage.const_data_ptr<double>()[there];
      const double plain = ratio * advantage;
      const double clipped = std::clamp(ratio, 1 - options.clip, 1 + options.clip) * advantage;
      // The derivative of the minimum by log p(a): that of the first term, or none.
      const double slope = plain <= clipped ? plain : 0;

      const ValueTerm of_value = value_term(options, value.const_data_ptr<double>()[here],
                                            batch.value.const_data_ptr<double>()[there],
                                            batch.target.const_data_ptr<double>()[there]);
      sums.policy -= std::min(plain, clipped);
      sums.value += of_value.term;
      sums.entropy += terms.entropy;
      sums.divergence += terms.divergence;
      sums.clipped += std::abs(ratio - 1) > options.clip ? 1 : 0;
      sums.steps += 1;

      policy.add_gradient(now, old, action,
                          {.log_prob = -slope / minibatch_steps,
                           .entropy = -options.entropy_weight / minibatch_steps,
                           .divergence = kl_weight / minibatch_steps},
                          d_outputs.data_ptr<double>() + here * width);
      d_value.data_ptr<double>()[here] = options.value_weight * of_value.slope / minibatch_steps;
    }
  }
  return sums;
}

void write_log_prob(const nn::StepPolicy& policy, PpoBatch& batch) {
  const int64_t width = batch.outputs.size(2);
  for (int64_t row = 0; row < batch.acted.numel(); ++row) {
    const double* const old = batch.outputs.const_data_ptr<double>() + row * width;
    batch.log_prob.data_ptr<double>()[row] =
        batch.acted.const_data_ptr<bool>()[row]
            ? policy.terms(old, old, action_at(batch, row)).log_prob
            : 0;
  }
}

}  // namespace stpn::train
