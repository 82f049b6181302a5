// The options of the trainer `ppo`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/train/algorithms/agent_trainer.h"

namespace stpn::train {

// fields() documents each option. The defaults are the published ones.
struct PpoOptions : AgentTrainerOptions {
  int64_t steps = 1'000'000;  // of all environments together
  int64_t environments = 1;
  int64_t rollout_length = 2048;  // steps of each environment in an iteration
  int64_t sequence_length = 20;   // steps; 0: rollout_length
  int64_t minibatch_steps = 64;
  int64_t passes = 10;
  int64_t report_every = 10;  // iterations; they make up an epoch
  std::string states = "stored";
  std::string time_limit = "end";
  double gae_lambda = 0.95;
  double clip = 0.2;
  double value_weight = 1;
  std::string value_clipping = "change";
  double value_clip = 10;
  double kl_weight = 0.2;  // at the start
  double kl_target = 0.01;

  PpoOptions() {
    entropy_weight = 0.01;
    learning_rate = 3e-4;
    decay_steps = 4e8;
  }

  // Of all environments in an iteration.
  int64_t batch_steps() const { return environments * rollout_length; }
  int64_t iterations() const { return (steps + batch_steps() - 1) / batch_steps(); }

  std::vector<base::Field> fields() override;
  int64_t epochs() const override { return (iterations() + report_every - 1) / report_every; }
  std::string limits() const override { return "train.steps or train.stop_reward"; }
  std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                const nn::UnitOptions& unit) const override;
};

}  // namespace stpn::train
