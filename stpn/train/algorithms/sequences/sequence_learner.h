// Plays, and computes gradients of losses of sequences: what the trainers of agents that cut
// rollouts into sequences have in common.
//
// Results are the same bits for any number of threads and processes: environments and sequences are
// divided into shards of a fixed size, each played or backpropagated by one thread, and the
// gradients are added in a fixed order. Every process plays a share of the environments, gets what
// the others have played, and backpropagates a share of the sequences.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "stpn/base/safetensors.h"
#include "stpn/nn/models/agent.h"
#include "stpn/nn/models/agent_heads.h"
#include "stpn/processes/group.h"
#include "stpn/train/algorithms/actor.h"
#include "stpn/train/algorithms/run_shards.h"
#include "stpn/train/algorithms/sequences/sequence_batch.h"
#include "stpn/train/algorithms/sequences/step_loss.h"

namespace stpn::train {

struct SequenceOptions {
  uint64_t seed = 1;
  int64_t environments = 1;     // E
  int64_t rollout_length = 1;   // T
  int64_t sequence_length = 0;  // 0: T
  bool bootstraps = true;       // a step without an action follows a truncation (Rollout)
};

class SequenceLearner {
 public:
  // Task and agent must outlive this object.
  SequenceLearner(const tasks::EnvironmentTask& task, const SequenceOptions& options,
                  nn::Agent& agent);

  // Plays the next T steps in each environment.
  void play();
  const SequenceBatch& batch() const { return batch_; }
  SequenceBatch& batch() { return batch_; }

  // Replaces the states of the batch by those of the present weights.
  void recompute_states();

  struct Result {
    LossSums sums;
    double energy = 0;  // the term of the loss, without energy_weight; 0 unless that is positive
    std::vector<torch::Tensor> gradients;  // in the order of the parameters
  };
  // The gradient of `scale` times the sum, over the steps with an action of the minibatch, of the
  // loss and energy_weight times the energy, a mean over the neurons.
  Result gradient(const Minibatch& minibatch, const StepLoss& loss, double scale,
                  double energy_weight);
  double steps_with_action(const Minibatch& minibatch) const;

  std::vector<double> take_rewards();  // of the episodes that have ended since the last call
  int64_t episodes_ended() const;      // in total

  // Writes what the next call of `play` needs to go on, and reads it back.
  void save(base::Safetensors& content) const;
  void restore(const base::Safetensors& content);

 private:
  struct Shard {
    Actor actor;
    int64_t first, count;  // environments
    std::string prefix() const { return "rollout" + std::to_string(first) + "."; }
  };

  void play(Shard& shard);
  // The environments that this process plays, and what all have played or recomputed.
  processes::Share environments_of(int rank) const;
  void exchange(bool states_only);
  ShardResult gradient_of_part(const Minibatch& part, const StepLoss& loss, double scale,
                               double energy_weight);

  const SequenceOptions options_;
  nn::Agent& agent_;
  const nn::AgentHeads heads_;
  const int64_t sequences_in_part_;
  std::vector<torch::Tensor> below_heads_;  // parameters of encoder and unit
  SequenceBatch batch_;
  const int64_t environments_in_shard_;
  const int64_t shard_count_;  // in all processes
  std::vector<Shard> shards_;  // of this one
};

}  // namespace stpn::train
