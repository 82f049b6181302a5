// A small maze and an agent for a task, for the tests of actor and actor-critic.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "stpn/nn/initialisation.h"
#include "stpn/tasks/hold/hold.h"
#include "stpn/tasks/maze/maze.h"
#include "stpn/train/algorithms/actor_critic.h"

namespace stpn::train {

inline tasks::MazeOptions small_maze() {
  tasks::MazeOptions options;
  options.size = 5;
  options.steps = 12;
  return options;
}

// An episode of the task `hold`, as it shows itself.
struct HoldEpisode {
  HoldEpisode(tasks::Split split, int64_t number) {
    const auto environment = tasks::HoldOptions().make(1)->make_environment();
    float observation[3];
    environment->start(split, number, observation);
    sign = observation[0];
    tasks::Step step;
    for (const float action = 0; !step.ended(); ++steps) {
      step = environment->step({.numbers = &action}, observation);
    }
    truncated = step.truncated;
  }
  double sign;
  int64_t steps = 0;
  bool truncated;
};

inline std::unique_ptr<nn::UnitOptions> options_of(const std::string& unit_name,
                                                   const std::vector<std::string>& settings) {
  auto options = nn::find_unit(unit_name, "test").options();
  base::Config config;
  config.tables["unit"] = {};
  for (const std::string& setting : settings) base::apply_setting(config, setting);
  base::assign(config, "unit", options->fields());
  return options;
}

// Makes the parameters so large that the policy and the fast weights matter.
inline std::shared_ptr<nn::Agent> strong(std::shared_ptr<nn::Agent> agent, torch::Dtype dtype) {
  agent->to(dtype);
  uint64_t index = 0;
  for (auto& parameter : agent->parameters()) nn::uniform_(parameter, -0.5, 0.5, 3, index++);
  return agent;
}

inline std::shared_ptr<nn::Agent> make_model(const tasks::EnvironmentTask& task,
                                             const std::string& unit_name,
                                             const std::vector<std::string>& settings,
                                             torch::Dtype dtype = torch::kDouble) {
  return strong(make_agent(task, *options_of(unit_name, settings)), dtype);
}

}  // namespace stpn::train
