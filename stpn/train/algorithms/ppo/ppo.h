// Proximal policy optimisation (PPO) for recurrent agents.
//
// An iteration plays `rollout_length` steps in each environment, on from where the last one ended,
// and then passes `passes` times over them in minibatches of sequences (ppo_batch.h), in an order
// drawn anew for each pass. A sequence starts from its stored state: the one the unit had when the
// steps were played, with weights that have changed since; or, with states = "recomputed", from the
// one that the unit of the beginning of the pass has there. After an iteration the weight of the KL
// term is multiplied by 1.5 if the mean divergence in its last pass was more than twice the target,
// and by 0.5 if it was less than half of it.
//
// Results are the same bits for any number of threads: environments and sequences are divided into
// shards of a fixed size, each played or backpropagated by one thread, and the gradients are added
// in a fixed order.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/safetensors.h"
#include "stpn/nn/models/agent.h"
#include "stpn/nn/models/agent_heads.h"
#include "stpn/train/algorithms/actor.h"
#include "stpn/train/algorithms/ppo/ppo_batch.h"
#include "stpn/train/algorithms/ppo/ppo_loss.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"

namespace stpn::train {

using Minibatch = std::vector<Sequence>;

class Ppo {
 public:
  // All must outlive this object.
  Ppo(const tasks::EnvironmentTask& task, const PpoOptions& options, nn::Agent& agent);

  // Plays the steps of an iteration and computes what to learn from them.
  void play();
  const PpoBatch& batch() const { return batch_; }

  // The minibatches of a pass, from 0 on over all iterations: each sequence is in one of them, and
  // each has sequences for at most `minibatch_steps` steps, but at least one.
  std::vector<Minibatch> minibatches(int64_t pass) const;
  // Replaces the states of the batch by those of the present weights.
  void recompute_states();

  struct Result {
    PpoSums sums;
    double energy = 0;                     // mean over neurons and steps; 0 unless in the loss
    std::vector<torch::Tensor> gradients;  // in the order of the parameters
    double loss(const PpoOptions& options, double kl_weight) const {
      return sums.loss(options, kl_weight) + options.energy_weight * energy;
    }
  };
  // The loss of a minibatch of the batch, and its gradient. Without any step with an action, sums
  // of 0 and no gradients.
  Result gradient(const Minibatch& minibatch);

  double kl_weight() const { return kl_weight_; }
  // After the last pass of an iteration, with the mean divergence in it.
  void adapt_kl_weight(double divergence);

  std::vector<double> take_rewards();  // of the episodes that have ended since the last call
  int64_t episodes_ended() const;      // in total

  // Writes what the next iteration needs to go on, and reads it back.
  void save(base::Safetensors& content) const;
  void restore(const base::Safetensors& content);

 private:
  struct Shard {
    Actor actor;
    int64_t first, count;  // environments
    std::string prefix() const { return "rollout" + std::to_string(first) + "."; }
  };

  void play(Shard& shard);
  Result gradient_of_part(const Minibatch& part, double minibatch_steps);

  const PpoOptions& options_;
  nn::Agent& agent_;
  const std::unique_ptr<nn::StepPolicy> policy_;
  const nn::AgentHeads heads_;
  std::vector<torch::Tensor> below_heads_;  // parameters of encoder and unit
  PpoBatch batch_;
  std::vector<Shard> shards_;
  double kl_weight_;
};

}  // namespace stpn::train
