#include "stpn/train/algorithms/ppo/ppo.h"

#include <algorithm>
#include <utility>

#include "stpn/base/random.h"
#include "stpn/train/algorithms/saved_tensor.h"

namespace stpn::train {
namespace {

constexpr const char* kKlWeight = "ppo.kl_weight";

}  // namespace

Ppo::Ppo(const tasks::EnvironmentTask& task, const PpoOptions& options, nn::Agent& agent)
    : options_(options),
      policy_(agent.policy_head().step_policy()),
      learner_(task,
               {.seed = static_cast<uint64_t>(options.seed),
                .environments = options.environments,
                .rollout_length = options.rollout_length,
                .sequence_length = options.sequence_length,
                .bootstraps = options.time_limit == "truncation"},
               agent),
      kl_weight_(options.kl_weight) {}

void Ppo::play() {
  learner_.play();
  SequenceBatch& batch = learner_.batch();
  write_log_prob(*policy_, batch);
  batch.find_advantages(options_.discount, options_.gae_lambda, options_.time_limit == "end");
  batch.standardise_advantages();
}

std::vector<Minibatch> Ppo::minibatches(int64_t pass) const {
  std::vector<Sequence> sequences = batch().sequences();
  base::Random random(static_cast<uint64_t>(options_.seed), base::Stream::minibatches,
                      static_cast<uint64_t>(pass));
  for (size_t left = sequences.size(); left > 1; --left) {
    std::swap(sequences[left - 1], sequences[random.below(static_cast<uint32_t>(left))]);
  }
  std::vector<Minibatch> all;
  int64_t steps = 0;
  for (const Sequence& sequence : sequences) {
    steps += sequence.length;
    if (all.empty() || steps > options_.minibatch_steps) {
      all.emplace_back();
      steps = sequence.length;
    }
    all.back().push_back(sequence);
  }
  return all;
}

Ppo::Result Ppo::gradient(const Minibatch& minibatch) {
  const double steps = learner_.steps_with_action(minibatch);
  if (steps == 0) return {};
  const PpoLoss loss(options_, kl_weight_, *policy_);
  Result result{learner_.gradient(minibatch, loss, 1 / steps, options_.energy_weight)};
  result.loss = loss.of(result.sums) + options_.energy_weight * result.energy;
  return result;
}

void Ppo::adapt_kl_weight(double divergence) {
  if (divergence > 2 * options_.kl_target) kl_weight_ *= 1.5;
  if (divergence < 0.5 * options_.kl_target) kl_weight_ *= 0.5;
  // Within bounds from which it can come back; 0 stays 0.
  if (kl_weight_ != 0) kl_weight_ = std::clamp(kl_weight_, 1e-12, 1e12);
}

void Ppo::save(base::Safetensors& content) const {
  content.tensors.push_back(saved_tensor(kKlWeight, torch::tensor(kl_weight_, torch::kDouble)));
  learner_.save(content);
}

void Ppo::restore(const base::Safetensors& content) {
  const torch::Tensor weight = torch::zeros({}, torch::kDouble);
  read_saved(content, kKlWeight, weight);
  kl_weight_ = weight.item<double>();
  learner_.restore(content);
}

}  // namespace stpn::train
