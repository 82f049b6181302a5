// What all trainers of agents have in common: the task, the agent, and how it is tested.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/models/agent.h"
#include "stpn/tasks/environment.h"
#include "stpn/train/algorithms/actor.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// A newly made agent for a task, without an encoder: a unit, and a head for its actions.
std::shared_ptr<nn::Agent> make_agent(const tasks::EnvironmentTask& task,
                                      const nn::UnitOptions& unit);

// The value that the agent predicts for the observation after a rollout, (B), without gradient.
torch::Tensor bootstrap_value(nn::Agent& agent, const Rollout& rollout);

torch::Dtype dtype_of(const torch::nn::Module& model);

// The options that all trainers of agents have, with defaults of their own.
struct AgentTrainerOptions : TrainerOptions {
  double epsilon = 1e-8;
  double max_grad_norm = 40;
  double discount = 0.99;
  double energy_weight = 0;

  std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                   const std::string& where) const override;

 protected:
  base::Field epsilon_field();
  base::Field max_grad_norm_field();
  base::Field discount_field();
  base::Field energy_weight_field();
};

class AgentTrainer : public Trainer {
 public:
  AgentTrainer(const tasks::EnvironmentOptions& task, const nn::UnitOptions& unit, uint64_t seed);

  const tasks::EnvironmentTask& task() const { return *task_; }
  nn::Agent& agent() { return *agent_; }

  torch::nn::Module& model() override { return *agent_; }
  std::string items() const override { return "episodes"; }
  std::string score() const override { return "reward"; }
  bool keeps_best() const override { return false; }
  void try_out() override;
  int64_t test_size() const override { return task_->test_episodes(); }
  Metrics test(int64_t count) override;
  std::string trace() override;
  // Over all test episodes. If the task knows no best actions, that of the random policy alone.
  std::vector<tasks::Baseline> baselines() const override;

 protected:
  // Whether the agent is tested with its most probable actions; its drawn actions are then tested
  // too, and their reward is the metric "sampled_reward".
  virtual bool tests_greedily() const { return false; }
  // Adds (reward - random) / (oracle - random) to the metrics, if the task has an oracle.
  void add_reward_share(double reward, Metrics& metrics) const;

 private:
  int64_t test_steps() const;
  double mean_reward_of(const std::string& policy_name) const;
  PlayedEpisodes play_test(int64_t count, bool greedy);

  uint64_t seed_;
  std::unique_ptr<tasks::EnvironmentTask> task_;
  std::shared_ptr<nn::Agent> agent_;
  mutable std::vector<tasks::Baseline> baselines_;
};

}  // namespace stpn::train
