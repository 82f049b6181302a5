// An experiment whose policy needs no training: what a trained agent is measured against. A TOML
// file with two tables, [task] and [policy].
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/tasks/policy.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::train {

struct PolicyExperiment {
  std::string name;  // its folder and stem: "maze/oracle"
  std::string task_name;
  std::unique_ptr<tasks::EnvironmentOptions> task;
  std::string policy;  // one of tasks::untrained_policies()
  int64_t seed = 1;
};

// Reads the file; `settings` (TABLE.KEY=VALUE) override it. Throws base::UserError for whatever is
// unknown, missing or impossible, and for an experiment that has to be trained.
PolicyExperiment read_policy_experiment(const std::filesystem::path& path,
                                        const std::vector<std::string>& settings = {});

struct PolicyEvaluation {
  int64_t episodes = 0;
  tasks::Spread reward;  // of an episode
  tasks::Spread episode_length;
  std::string trace;  // of the first episode: Environment::trace
};

// Plays the first `episodes` of the test split; without a number, all that the task tests on.
PolicyEvaluation evaluate_policy(const PolicyExperiment& experiment,
                                 std::optional<int64_t> episodes);

}  // namespace stpn::train
