#include "stpn/train/algorithms/ppo/ppo.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "stpn/base/random.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/train/algorithms/agent_trainer.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

constexpr const char* kKlWeight = "ppo.kl_weight";

bool acts(const PpoBatch& batch, const Sequence& sequence, int64_t t) {
  return batch.acted
      .const_data_ptr<bool>()[(sequence.begin + t) * batch.environments() + sequence.environment];
}

double steps_with_action(const PpoBatch& batch, const Minibatch& minibatch) {
  double steps = 0;
  for (const Sequence& sequence : minibatch) {
    for (int64_t t = 0; t < sequence.length; ++t) steps += acts(batch, sequence, t) ? 1 : 0;
  }
  return steps;
}

// Parts of a minibatch: in each, sequences of one length, and not more than a thread takes.
std::vector<Minibatch> parts_of(Minibatch minibatch) {
  std::stable_sort(
      minibatch.begin(), minibatch.end(),
      [](const Sequence& left, const Sequence& right) { return left.length > right.length; });
  std::vector<Minibatch> parts;
  for (const Sequence& sequence : minibatch) {
    if (parts.empty() || parts.back()[0].length != sequence.length ||
        static_cast<int64_t>(parts.back().size()) == kSequencesInShard) {
      parts.emplace_back();
    }
    parts.back().push_back(sequence);
  }
  return parts;
}

}  // namespace

Ppo::Ppo(const tasks::EnvironmentTask& task, const PpoOptions& options, nn::Agent& agent)
    : options_(options),
      agent_(agent),
      policy_(agent.policy_head().step_policy()),
      heads_(agent),
      below_heads_(agent.parameters()),
      batch_(task, agent, options.rollout_length, options.environments, options.sequence_length),
      kl_weight_(options.kl_weight) {
  below_heads_.resize(below_heads_.size() - 4);  // those of the heads come last
  for (int64_t first = 0; first < options.environments; first += kEnvironmentsInShard) {
    const int64_t count = std::min(kEnvironmentsInShard, options.environments - first);
    shards_.push_back({Actor(task, static_cast<uint64_t>(options.seed), count,
                             batch_.sequence_length, dtype_of(agent)),
                       first, count});
  }
}

void Ppo::play() {
  ops::run_concurrently(static_cast<int64_t>(shards_.size()), [&](int64_t i) {
    const torch::NoGradGuard no_grad;
    play(shards_[i]);
  });
  write_log_prob(*policy_, batch_);
  batch_.finish(options_.discount, options_.gae_lambda, options_.time_limit == "end");
}

void Ppo::play(Shard& shard) {
  for (int64_t piece = 0; piece < batch_.pieces(); ++piece) {
    const Acted played =
        shard.actor.play_on(agent_, {.first = shard.first,
                                     .stride = options_.environments,
                                     .steps = batch_.length_of(piece),
                                     .bootstraps = options_.time_limit == "truncation"});
    batch_.store(piece, shard.first, played);
    if (piece == batch_.pieces() - 1) {
      batch_.value[batch_.steps()]
          .narrow(0, shard.first, shard.count)
          .copy_(bootstrap_value(agent_, played.rollout));
    }
  }
}

std::vector<Minibatch> Ppo::minibatches(int64_t pass) const {
  std::vector<Sequence> sequences = batch_.sequences();
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

void Ppo::recompute_states() {
  ops::run_concurrently(static_cast<int64_t>(shards_.size()), [&](int64_t i) {
    const torch::NoGradGuard no_grad;
    const Shard& shard = shards_[i];
    Minibatch all;
    for (int64_t b = 0; b < shard.count; ++b) all.push_back({shard.first + b, 0, 0, 0});
    for (int64_t piece = 0; piece + 1 < batch_.pieces(); ++piece) {
      for (Sequence& sequence : all) {
        sequence.piece = piece;
        sequence.begin = batch_.begin_of(piece);
        sequence.length = batch_.length_of(piece);
      }
      const nn::State after = agent_.forward_unit(batch_.input_of(all)).state;
      for (size_t k = 0; k < after.size(); ++k) {
        batch_.states[piece + 1][k]
            .second.narrow(0, shard.first, shard.count)
            .copy_(after[k].second);
      }
    }
  });
}

Ppo::Result Ppo::gradient(const Minibatch& minibatch) {
  const double steps = steps_with_action(batch_, minibatch);
  if (steps == 0) return {};
  const std::vector<Minibatch> parts = parts_of(minibatch);
  std::vector<Result> results(parts.size());
  ops::run_concurrently(static_cast<int64_t>(parts.size()),
                        [&](int64_t i) { results[i] = gradient_of_part(parts[i], steps); });
  Result sum;
  for (Result& part : results) {
    sum.sums.add(part.sums);
    sum.energy += part.energy;
    add_gradients(sum.gradients, std::move(part.gradients));
  }
  return sum;
}

Ppo::Result Ppo::gradient_of_part(const Minibatch& part, double minibatch_steps) {
  const torch::AutoGradMode mode(true);
  nn::UnitInput input = batch_.input_of(part);
  input.energy = options_.energy_weight > 0;
  const nn::UnitOutput output = agent_.forward_unit(input);
  std::vector<torch::Tensor> results = {output.y};
  std::vector<torch::Tensor> slopes;
  nn::AgentHeads::Gradients of_heads;
  Result result;
  {
    const torch::NoGradGuard no_grad;
    const int64_t L = output.y.size(0), B = output.y.size(1);
    const torch::Tensor outputs = torch::empty({L, B, batch_.outputs.size(2)}, torch::kDouble);
    const torch::Tensor value = torch::empty({L, B}, torch::kDouble);
    heads_.forward(output.y, outputs, value);
    const torch::Tensor d_outputs = torch::empty_like(outputs), d_value = torch::empty_like(value);
    result.sums = ppo_loss(options_, kl_weight_, *policy_, batch_, part, outputs, value,
                           minibatch_steps, d_outputs, d_value);
    of_heads = heads_.backward(output.y, d_outputs, d_value);
    slopes = {of_heads.h};
    if (input.energy) {
      const torch::Tensor& energy = output.energy;
      torch::Tensor weight = torch::zeros({energy.size(0), energy.size(1), 1}, energy.options());
      for (int64_t t = 0; t < weight.size(0); ++t) {
        for (size_t b = 0; b < part.size(); ++b) {
          if (acts(batch_, part[b], t)) weight[t][static_cast<int64_t>(b)] = 1;
        }
      }
      weight /= minibatch_steps * static_cast<double>(energy.size(2));
      result.energy = (energy * weight).sum().item<double>();
      results.push_back(energy);
      slopes.push_back((options_.energy_weight * weight).expand_as(energy));
    }
  }
  result.gradients = torch::autograd::grad(results, below_heads_, slopes);
  result.gradients.insert(result.gradients.end(), of_heads.parameters.begin(),
                          of_heads.parameters.end());
  return result;
}

void Ppo::adapt_kl_weight(double divergence) {
  if (divergence > 2 * options_.kl_target) kl_weight_ *= 1.5;
  if (divergence < 0.5 * options_.kl_target) kl_weight_ *= 0.5;
  // Within bounds from which it can come back; 0 stays 0.
  if (kl_weight_ != 0) kl_weight_ = std::clamp(kl_weight_, 1e-12, 1e12);
}

std::vector<double> Ppo::take_rewards() {
  std::vector<double> rewards;
  for (Shard& shard : shards_) {
    const std::vector<double> taken = shard.actor.take_rewards();
    rewards.insert(rewards.end(), taken.begin(), taken.end());
  }
  return rewards;
}

int64_t Ppo::episodes_ended() const {
  int64_t count = 0;
  for (const Shard& shard : shards_) count += shard.actor.episodes_ended();
  return count;
}

void Ppo::save(base::Safetensors& content) const {
  content.tensors.push_back(saved_tensor(kKlWeight, torch::tensor(kl_weight_, torch::kDouble)));
  for (const Shard& shard : shards_) shard.actor.save(shard.prefix(), content);
}

void Ppo::restore(const base::Safetensors& content) {
  const torch::Tensor weight = torch::zeros({}, torch::kDouble);
  read_saved(content, kKlWeight, weight);
  kl_weight_ = weight.item<double>();
  for (Shard& shard : shards_) shard.actor.restore(shard.prefix(), content, agent_);
}

}  // namespace stpn::train
