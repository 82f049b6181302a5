#include "stpn/train/algorithms/sequences/sequence_learner.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "stpn/base/profile.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/train/algorithms/agent_trainer.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

bool acts(const SequenceBatch& batch, const Sequence& sequence, int64_t t) {
  return batch.acted
      .const_data_ptr<bool>()[(sequence.begin + t) * batch.environments() + sequence.environment];
}

// Parts of a minibatch: in each, at most `most` sequences, of one length.
std::vector<Minibatch> parts_of(Minibatch minibatch, int64_t most) {
  std::stable_sort(
      minibatch.begin(), minibatch.end(),
      [](const Sequence& left, const Sequence& right) { return left.length > right.length; });
  std::vector<Minibatch> parts;
  for (const Sequence& sequence : minibatch) {
    if (parts.empty() || parts.back()[0].length != sequence.length ||
        static_cast<int64_t>(parts.back().size()) == most) {
      parts.emplace_back();
    }
    parts.back().push_back(sequence);
  }
  return parts;
}

// The loss of sequences of one length L.
//   outputs, value      in  (L, B, outputs) and (L, B) double, dense: of the agent
//   d_outputs, d_value  out  as these
LossSums add_losses(const StepLoss& loss, const SequenceBatch& batch, const Minibatch& sequences,
                    double scale, const torch::Tensor& outputs, const torch::Tensor& value,
                    torch::Tensor d_outputs, torch::Tensor d_value) {
  const int64_t L = value.size(0), B = value.size(1), width = outputs.size(2);
  d_outputs.zero_();
  d_value.zero_();
  LossSums sums;
  for (int64_t t = 0; t < L; ++t) {
    for (int64_t b = 0; b < B; ++b) {
      if (!acts(batch, sequences[b], t)) continue;
      const int64_t here = t * B + b;
      const int64_t row =
          (sequences[b].begin + t) * batch.environments() + sequences[b].environment;
      loss.add(batch, row, outputs.const_data_ptr<double>() + here * width,
               value.const_data_ptr<double>()[here], scale, sums,
               d_outputs.data_ptr<double>() + here * width, d_value.data_ptr<double>() + here);
    }
  }
  return sums;
}

}  // namespace

SequenceLearner::SequenceLearner(const tasks::EnvironmentTask& task, const SequenceOptions& options,
                                 nn::Agent& agent)
    : options_(options),
      agent_(agent),
      heads_(agent),
      sequences_in_part_(sequences_in_shard(task)),
      below_heads_(agent.parameters()),
      batch_(task, agent, options.rollout_length, options.environments, options.sequence_length),
      environments_in_shard_(environments_in_shard(task)),
      shard_count_(shards_of(options.environments, environments_in_shard_)) {
  below_heads_.resize(below_heads_.size() - 4);  // those of the heads come last
  const processes::Share mine = environments_of(processes::group().rank());
  for (int64_t first = mine.begin; first < mine.end; first += environments_in_shard_) {
    const int64_t count = std::min(environments_in_shard_, options.environments - first);
    shards_.push_back(
        {Actor(task, options.seed, count, batch_.sequence_length, agent), first, count});
  }
}

void SequenceLearner::play() {
  ops::run_concurrently(static_cast<int64_t>(shards_.size()), [&](int64_t i) {
    const torch::NoGradGuard no_grad;
    play(shards_[i]);
  });
  exchange(/*states_only=*/false);
}

processes::Share SequenceLearner::environments_of(int rank) const {
  const processes::Share shards = processes::group().share(shard_count_, rank);
  return {std::min(shards.begin * environments_in_shard_, options_.environments),
          std::min(shards.end * environments_in_shard_, options_.environments)};
}

void SequenceLearner::exchange(bool states_only) {
  processes::Group& group = processes::group();
  if (group.alone()) return;
  const processes::Share mine = environments_of(group.rank());
  const std::vector<std::string> all =
      group.gather(batch_.columns(mine.begin, mine.count(), states_only));
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank == group.rank()) continue;
    const processes::Share theirs = environments_of(rank);
    batch_.set_columns(theirs.begin, theirs.count(), states_only, all[rank]);
  }
}

void SequenceLearner::play(Shard& shard) {
  for (int64_t piece = 0; piece < batch_.pieces(); ++piece) {
    const Acted played = shard.actor.play_on(agent_, {.first = shard.first,
                                                      .stride = options_.environments,
                                                      .steps = batch_.length_of(piece),
                                                      .bootstraps = options_.bootstraps});
    batch_.store(piece, shard.first, played);
    if (piece == batch_.pieces() - 1) {
      batch_.value[batch_.steps()]
          .narrow(0, shard.first, shard.count)
          .copy_(bootstrap_value(agent_, played.rollout));
    }
  }
}

void SequenceLearner::recompute_states() {
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
  if (batch_.pieces() > 1) exchange(/*states_only=*/true);
}

double SequenceLearner::steps_with_action(const Minibatch& minibatch) const {
  double steps = 0;
  for (const Sequence& sequence : minibatch) {
    for (int64_t t = 0; t < sequence.length; ++t) steps += acts(batch_, sequence, t) ? 1 : 0;
  }
  return steps;
}

SequenceLearner::Result SequenceLearner::gradient(const Minibatch& minibatch, const StepLoss& loss,
                                                  double scale, double energy_weight) {
  const std::vector<Minibatch> parts = parts_of(minibatch, sequences_in_part_);
  ShardResults results = run_shards(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    return gradient_of_part(parts[i], loss, scale, energy_weight);
  });
  return {.sums = {.policy = results.sum_of(0),
                   .value = results.sum_of(1),
                   .entropy = results.sum_of(2),
                   .divergence = results.sum_of(3),
                   .clipped = results.sum_of(4),
                   .steps = results.sum_of(5)},
          .energy = results.sum_of(6),
          .gradients = std::move(results.gradients)};
}

// Its numbers: those of LossSums, and the energy.
ShardResult SequenceLearner::gradient_of_part(const Minibatch& part, const StepLoss& loss,
                                              double scale, double energy_weight) {
  const torch::AutoGradMode mode(true);
  nn::UnitInput input = batch_.input_of(part);
  input.energy = energy_weight > 0;
  nn::UnitOutput output;
  {
    const base::Working working(base::Work::unit);
    output = agent_.forward_unit(input);
  }
  std::vector<torch::Tensor> results = {output.y};
  std::vector<torch::Tensor> slopes;
  nn::AgentHeads::Gradients of_heads;
  LossSums sums;
  double of_energy = 0;
  ShardResult result;
  {
    const torch::NoGradGuard no_grad;
    const int64_t L = output.y.size(0), B = output.y.size(1);
    const torch::Tensor outputs = torch::empty({L, B, batch_.outputs.size(2)}, torch::kDouble);
    const torch::Tensor value = torch::empty({L, B}, torch::kDouble);
    heads_.forward(output.y, outputs, value);
    const torch::Tensor d_outputs = torch::empty_like(outputs), d_value = torch::empty_like(value);
    sums = add_losses(loss, batch_, part, scale, outputs, value, d_outputs, d_value);
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
      weight *= scale / static_cast<double>(energy.size(2));
      of_energy = (energy * weight).sum().item<double>();
      results.push_back(energy);
      slopes.push_back((energy_weight * weight).expand_as(energy));
    }
  }
  {
    const base::Working working(base::Work::unit);
    result.gradients = torch::autograd::grad(results, below_heads_, slopes);
  }
  result.numbers = {sums.policy,  sums.value, sums.entropy, sums.divergence,
                    sums.clipped, sums.steps, of_energy};
  result.gradients.insert(result.gradients.end(), of_heads.parameters.begin(),
                          of_heads.parameters.end());
  return result;
}

std::vector<double> SequenceLearner::take_rewards() {
  std::vector<double> rewards;
  for (Shard& shard : shards_) {
    const std::vector<double> taken = shard.actor.take_rewards();
    rewards.insert(rewards.end(), taken.begin(), taken.end());
  }
  return gather_numbers(rewards);
}

int64_t SequenceLearner::episodes_ended() const {
  double count = 0;
  for (const Shard& shard : shards_) count += static_cast<double>(shard.actor.episodes_ended());
  const std::vector<double> counts = gather_numbers({count});
  return static_cast<int64_t>(std::accumulate(counts.begin(), counts.end(), 0.0));
}

void SequenceLearner::save(base::Safetensors& content) const {
  base::Safetensors of_share;
  for (const Shard& shard : shards_) shard.actor.save(shard.prefix(), of_share);
  gather_tensors(of_share, content);
}

void SequenceLearner::restore(const base::Safetensors& content) {
  for (Shard& shard : shards_) shard.actor.restore(shard.prefix(), content, agent_);
}

}  // namespace stpn::train
