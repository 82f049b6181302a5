#include "stpn/train/experiment.h"

#include <map>
#include <set>
#include <sstream>

#include "stpn/base/config.h"
#include "stpn/base/error.h"

namespace stpn::train {
namespace {

struct Name {
  std::string value;
  std::string where;
};

Name take_name(base::Config& config, const std::string& table, const std::string& key) {
  const auto& settings = config.tables[table];
  const auto setting = settings.find(key);
  const std::string where = setting == settings.end() ? "" : setting->second.where;
  return {config.take(table, key), where};
}

// Map from "table.key" to value, read from the output of base::to_toml.
std::map<std::string, std::string> options_of(const std::string& toml) {
  std::map<std::string, std::string> options;
  std::istringstream lines(toml);
  std::string table;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('[')) {
      table = line.substr(1, line.find(']') - 1);
    } else if (const size_t equals = line.find(" = "); equals != std::string::npos) {
      options[table + "." + line.substr(0, equals)] = line.substr(equals + 3);
    }
  }
  return options;
}

}  // namespace

std::string Experiment::to_toml() const {
  return base::to_toml("task", {{"name", task_name}}, task->fields()) + "\n" +
         base::to_toml("unit", {{"name", unit_name}}, unit->fields()) + "\n" +
         base::to_toml("train", {{"algorithm", algorithm}}, train->fields());
}

namespace {

const std::vector<std::string> kTables = {"task", "unit", "train", "policy"};

Experiment experiment_of(base::Config config, const std::filesystem::path& path,
                         const std::vector<std::string>& settings, std::optional<int64_t> seed) {
  for (const std::string& setting : settings) base::apply_setting(config, setting);
  if (!config.tables["policy"].empty()) {
    throw base::UserError(
        fmt::format("{}: its [policy] needs no training: use stpn eval", path.string()));
  }
  if (seed) config.tables["train"]["seed"] = {*seed, fmt::format("--seed {}", *seed)};

  const Name task = take_name(config, "task", "name");
  const Name unit = take_name(config, "unit", "name");
  const Name algorithm = take_name(config, "train", "algorithm");

  Experiment experiment;
  experiment.model = path.stem().string();
  experiment.name = (std::filesystem::absolute(path).parent_path().filename() / path.stem());
  experiment.task_name = task.value;
  experiment.unit_name = unit.value;
  experiment.algorithm = algorithm.value;
  experiment.train = find_trainer(algorithm.value, algorithm.where).options();
  experiment.task = experiment.train->task_options(task.value, task.where);
  experiment.unit = nn::find_unit(unit.value, unit.where).options();
  base::assign(config, "task", experiment.task->fields());
  base::assign(config, "unit", experiment.unit->fields());
  base::assign(config, "train", experiment.train->fields());
  return experiment;
}

}  // namespace

Experiment read_experiment(const std::filesystem::path& path,
                           const std::vector<std::string>& settings, std::optional<int64_t> seed) {
  return experiment_of(base::read_config(path, kTables), path, settings, seed);
}

std::string brought_up_to_date(const std::string& config, const std::filesystem::path& path) {
  return experiment_of(base::parse_config(config, path, kTables), path, {}, {}).to_toml();
}

// These options may change when a run is resumed: they do not affect a step, only the number of
// steps.
const std::set<std::string> kWhenToStop = {"train.epochs",          "train.iterations",
                                           "train.steps",           "train.patience",
                                           "train.target_accuracy", "train.stop_reward"};

std::string first_difference(const std::string& there, const std::string& here) {
  const auto old_options = options_of(there);
  auto new_options = options_of(here);
  for (const auto& [key, value] : old_options) {
    const std::string now = new_options.contains(key) ? new_options[key] : "absent";
    if (now != value && !kWhenToStop.contains(key)) {
      return fmt::format("{} is {} there and {} here", key, value, now);
    }
    new_options.erase(key);
  }
  if (new_options.empty()) return "";
  const auto& [key, value] = *new_options.begin();
  return fmt::format("{} is absent there and {} here", key, value);
}

}  // namespace stpn::train
