// What all trainers of agents have in common: the task, the agent, and how it is tested.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stpn/nn/models/agent.h"
#include "stpn/tasks/environment.h"
#include "stpn/train/algorithms/actor.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// A newly made agent for a task: for images a convolution, a unit, and a head for its actions.
std::shared_ptr<nn::Agent> make_agent(const tasks::EnvironmentTask& task,
                                      const nn::UnitOptions& unit);

// The value that the agent predicts for the observation after a rollout, (B), without gradient.
torch::Tensor bootstrap_value(nn::Agent& agent, const Rollout& rollout);

// The options that all trainers of agents have, with defaults of their own.
struct AgentTrainerOptions : TrainerOptions {
  double epsilon = 1e-8;
  double max_grad_norm = 40;
  double discount = 0.99;
  double entropy_weight = 0;
  double energy_weight = 0;
  double learning_rate = 1e-4;  // at the start
  double final_learning_rate = 1e-12;
  double decay_steps = 0;  // of all environments, from the first rate to the final one; 0: none
  double stop_reward = std::numeric_limits<double>::infinity();

  // After so many steps of all environments.
  double learning_rate_at(double steps_done) const;

  std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                   const std::string& where) const override;

 protected:
  base::Field epsilon_field();
  base::Field max_grad_norm_field();
  base::Field discount_field();
  base::Field entropy_weight_field();
  base::Field energy_weight_field();
  base::Field learning_rate_field();
  base::Field final_learning_rate_field();
  base::Field decay_steps_field();
  base::Field stop_reward_field();
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
  std::string trace(bool sampled) override;
  // Over all test episodes. If the task knows no best actions, that of the random policy alone.
  std::vector<tasks::Baseline> baselines() const override;

 protected:
  // Whether the agent is tested with its most probable actions; its drawn actions are then tested
  // too, and their reward is the metric "sampled_reward".
  virtual bool tests_greedily() const { return false; }
  // Takes the rewards of the episodes that ended in an epoch, and adds to the metrics "reward",
  // their mean. If there are none, it is that of the last epoch that had any; NaN, in JSON null, if
  // there was none.
  void add_reward(const std::vector<double>& rewards, Metrics& metrics);
  // Whether the mean reward of the last 100 episodes is at least that.
  bool reached(double stop_reward) const;
  // Writes and reads what add_reward and `reached` know.
  void save_rewards(base::Safetensors& content) const;
  void restore_rewards(const base::Safetensors& content);

 private:
  // Adds (reward - random) / (oracle - random) to the metrics, if the task has an oracle.
  void add_reward_share(double reward, Metrics& metrics) const;
  int64_t test_steps() const;
  // Both over all test episodes, played at the first call; no oracle: nothing.
  double random_reward() const;
  std::optional<double> oracle_reward() const;
  double mean_reward_of(const std::string& policy_name) const;
  PlayedEpisodes play_test(int64_t count, bool greedy);

  uint64_t seed_;
  std::unique_ptr<tasks::EnvironmentTask> task_;
  std::shared_ptr<nn::Agent> agent_;
  mutable std::optional<double> random_reward_, oracle_reward_;
  mutable bool oracle_asked_ = false;
  double reward_ = std::numeric_limits<double>::quiet_NaN();  // of the last epoch that had any
  std::deque<double> last_rewards_;                           // of the last episodes, at most 100
};

}  // namespace stpn::train
