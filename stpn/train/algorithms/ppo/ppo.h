// Proximal policy optimisation (PPO) for recurrent agents.
//
// An iteration plays `rollout_length` steps in each environment, on from where the last one ended,
// and then passes `passes` times over them in minibatches of sequences (SequenceBatch), in an order
// drawn anew for each pass. A sequence starts from its stored state: the one the unit had when the
// steps were played, with weights that have changed since; or, with states = "recomputed", from the
// one that the unit of the beginning of the pass has there. After an iteration the weight of the KL
// term is multiplied by 1.5 if the mean divergence in its last pass was more than twice the target,
// and by 0.5 if it was less than half of it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "stpn/base/safetensors.h"
#include "stpn/nn/models/agent.h"
#include "stpn/train/algorithms/ppo/ppo_loss.h"
#include "stpn/train/algorithms/ppo/ppo_options.h"
#include "stpn/train/algorithms/sequences/sequence_learner.h"

namespace stpn::train {

class Ppo {
 public:
  // All must outlive this object.
  Ppo(const tasks::EnvironmentTask& task, const PpoOptions& options, nn::Agent& agent);

  // Plays the steps of an iteration and computes what to learn from them.
  void play();
  const SequenceBatch& batch() const { return learner_.batch(); }

  // The minibatches of a pass, from 0 on over all iterations: each sequence is in one of them, and
  // each has sequences for at most `minibatch_steps` steps, but at least one.
  std::vector<Minibatch> minibatches(int64_t pass) const;
  // Replaces the states of the batch by those of the present weights.
  void recompute_states() { learner_.recompute_states(); }

  struct Result : SequenceLearner::Result {
    double loss = 0;
  };
  // The loss of a minibatch of the batch, and its gradient. Without any step with an action, sums
  // of 0 and no gradients.
  Result gradient(const Minibatch& minibatch);

  double kl_weight() const { return kl_weight_; }
  // After the last pass of an iteration, with the mean divergence in it.
  void adapt_kl_weight(double divergence);

  std::vector<double> take_rewards() { return learner_.take_rewards(); }  // see SequenceLearner
  int64_t episodes_ended() const { return learner_.episodes_ended(); }

  // Writes what the next iteration needs to go on, and reads it back.
  void save(base::Safetensors& content) const;
  void restore(const base::Safetensors& content);

 private:
  const PpoOptions& options_;
  const std::unique_ptr<nn::StepPolicy> policy_;
  SequenceLearner learner_;
  double kl_weight_;
};

}  // namespace stpn::train
