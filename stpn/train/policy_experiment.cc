#include "stpn/train/policy_experiment.h"

#include <algorithm>

#include "stpn/base/error.h"
#include "stpn/train/run/run.h"

namespace stpn::train {

PolicyExperiment read_policy_experiment(const std::filesystem::path& path,
                                        const std::vector<std::string>& settings) {
  base::Config config = base::read_config(path, {"task", "policy", "unit", "train"});
  for (const std::string& setting : settings) base::apply_setting(config, setting);
  if (!config.tables["unit"].empty() || !config.tables["train"].empty()) {
    throw base::UserError(fmt::format(
        "{}: its model has to be trained: use stpn train, then stpn eval RUN_DIR", path.string()));
  }

  PolicyExperiment experiment;
  experiment.name = std::filesystem::absolute(path).parent_path().filename() / path.stem();
  const auto& task = config.tables["task"];
  const std::string where = task.contains("name") ? task.at("name").where : "";
  experiment.task_name = config.take("task", "name");
  experiment.task = tasks::find_environment(experiment.task_name, where).options();
  base::assign(config, "task", experiment.task->fields());
  base::assign(
      config, "policy",
      {base::field("name", experiment.policy, "the policy", tasks::untrained_policies()),
       base::field("seed", experiment.seed, "seed of episodes and actions", {.least = 0})});
  if (experiment.policy.empty()) config.take("policy", "name");  // throws: it is missing
  return experiment;
}

PolicyEvaluation evaluate_policy(const PolicyExperiment& experiment,
                                 std::optional<int64_t> episodes, bool trace) {
  const auto seed = static_cast<uint64_t>(experiment.seed);
  const auto task = experiment.task->make(seed);
  const int64_t count = episodes.value_or(task->test_episodes());
  if (count < 1 || count > kMostTested) {
    throw base::UserError(
        fmt::format("{} episodes requested: must be from 1 to {}", count, kMostTested));
  }
  const tasks::Episodes played =
      tasks::play_untrained(*task, experiment.policy, seed, tasks::Split::test, count);
  return {.episodes = count,
          .reward = tasks::spread_of(played.rewards),
          .episode_length = tasks::spread_of(played.lengths),
          .trace = trace ? task->trace(tasks::Split::test, 0, played.first_actions) : ""};
}

}  // namespace stpn::train
