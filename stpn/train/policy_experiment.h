// An experiment with a policy that needs no training, a baseline for trained agents. It is a TOML
// file with two tables: [task] and [policy].
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
  std::string name;  // folder and stem of its file: "maze/oracle"
  std::string task_name;
  std::unique_ptr<tasks::EnvironmentOptions> task;
  std::string policy;  // one of tasks::untrained_policies()
  int64_t seed = 1;
};

// Reads the file; `settings` (TABLE.KEY=VALUE) override it. Throws base::UserError for unknown or
// missing keys and impossible values, and for an experiment that has to be trained.
PolicyExperiment read_policy_experiment(const std::filesystem::path& path,
                                        const std::vector<std::string>& settings = {});

struct PolicyEvaluation {
  int64_t episodes = 0;
  tasks::Spread reward;  // over episodes
  tasks::Spread episode_length;
  std::string trace;  // EnvironmentTask::trace of the first episode, if asked for
};

// Plays the first `episodes` episodes of the test split; if not given, as many as the task tests
// on.
PolicyEvaluation evaluate_policy(const PolicyExperiment& experiment,
                                 std::optional<int64_t> episodes, bool trace = false);

}  // namespace stpn::train
