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

}  // namespace

double PpoLoss::of(const LossSums& sums) const {
  return (sums.policy + options_.value_weight * sums.value -
          options_.entropy_weight * sums.entropy + kl_weight_ * sums.divergence) /
         sums.steps;
}

void PpoLoss::add(const SequenceBatch& batch, int64_t row, const double* outputs, double value,
                  double scale, LossSums& sums, double* d_outputs, double* d_value) const {
  const double* const old = batch.outputs.const_data_ptr<double>() + row * batch.outputs.size(2);
  const nn::PolicyAction action = batch.action_at(row);
  const nn::PolicyTerms terms = policy_.terms(outputs, old, action);

  const double ratio = std::exp(terms.log_prob - batch.log_prob.const_data_ptr<double>()[row]);
  const double advantage = batch.advantage.const_data_ptr<double>()[row];
  const double plain = ratio * advantage;
  const double clipped = std::clamp(ratio, 1 - options_.clip, 1 + options_.clip) * advantage;
  // The derivative of the minimum by log p(a): that of the first term, or none.
  const double slope = plain <= clipped ? plain : 0;

  const ValueTerm of_value = value_term(options_, value, batch.value.const_data_ptr<double>()[row],
                                        batch.target.const_data_ptr<double>()[row]);
  sums.policy -= std::min(plain, clipped);
  sums.value += of_value.term;
  sums.entropy += terms.entropy;
  sums.divergence += terms.divergence;
  sums.clipped += std::abs(ratio - 1) > options_.clip ? 1 : 0;
  sums.steps += 1;

  policy_.add_gradient(outputs, old, action,
                       {.log_prob = -slope * scale,
                        .entropy = -options_.entropy_weight * scale,
                        .divergence = kl_weight_ * scale},
                       d_outputs);
  *d_value += options_.value_weight * of_value.slope * scale;
}

void write_log_prob(const nn::StepPolicy& policy, SequenceBatch& batch) {
  const int64_t width = batch.outputs.size(2);
  for (int64_t row = 0; row < batch.acted.numel(); ++row) {
    const double* const old = batch.outputs.const_data_ptr<double>() + row * width;
    batch.log_prob.data_ptr<double>()[row] =
        batch.acted.const_data_ptr<bool>()[row]
            ? policy.terms(old, old, batch.action_at(row)).log_prob
            : 0;
  }
}

}  // namespace stpn::train
