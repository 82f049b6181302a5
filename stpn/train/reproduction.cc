#include "stpn/train/reproduction.h"

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>

#include "stpn/base/config.h"
#include "stpn/base/error.h"
#include "stpn/base/files.h"
#include "stpn/train/experiment.h"

namespace stpn::train {
namespace {

namespace fs = std::filesystem;

// One table of the file. Its errors name the line.
class Table {
 public:
  Table(const fs::path& file, const toml::node& node, const std::vector<std::string>& keys)
      : file_(file), table_(node.as_table()) {
    if (table_ == nullptr) fail(node, "is not a table");
    for (const auto& [key, value] : *table_) {
      const std::string name(key.str());
      if (std::find(keys.begin(), keys.end(), name) != keys.end()) continue;
      const std::string near = base::nearest(name, keys);
      fail(value, fmt::format("unknown key {} ({})", name,
                              near.empty() ? fmt::format("there are: {}", fmt::join(keys, ", "))
                                           : fmt::format("did you mean {}?", near)));
    }
  }

  const toml::node* find(std::string_view key) const { return table_->get(key); }

  std::string text(std::string_view key) const {
    const toml::node* node = find(key);
    if (node == nullptr) fail(*table_, fmt::format("{} is missing", key));
    const auto value = node->value_exact<std::string>();
    if (!value) fail(*node, fmt::format("{} must be a string", key));
    return *value;
  }

  // Empty if there is no such key.
  std::vector<std::string> texts(std::string_view key) const {
    std::vector<std::string> texts;
    const toml::node* node = find(key);
    if (node == nullptr) return texts;
    if (!node->is_array()) fail(*node, fmt::format("{} must be an array of strings", key));
    for (const toml::node& element : *node->as_array()) {
      const auto value = element.value_exact<std::string>();
      if (!value) fail(element, fmt::format("{} must be an array of strings", key));
      texts.push_back(*value);
    }
    return texts;
  }

  int64_t seeds(int64_t otherwise) const {
    const toml::node* node = find("seeds");
    if (node == nullptr) return otherwise;
    const auto value = node->value_exact<int64_t>();
    if (!value || *value < 1 || *value > kMaxSeeds) {
      fail(*node, fmt::format("seeds must be an integer from 1 to {}", kMaxSeeds));
    }
    return *value;
  }

  [[noreturn]] void fail(const toml::node& node, const std::string& what) const {
    throw base::UserError(fmt::format("{}:{}: {}", file_.string(), node.source().begin.line, what));
  }
  [[noreturn]] void fail(std::string_view key, const std::string& what) const {
    fail(*find(key), what);
  }

 private:
  const fs::path& file_;
  const toml::table* table_;
};

toml::table parse(const fs::path& file) {
  try {
    return toml::parse(base::read_file(file));
  } catch (const toml::parse_error& error) {
    throw base::UserError(
        fmt::format("{}:{}: {}", file.string(), error.source().begin.line, error.description()));
  }
}

// Names are used as folder names.
bool is_name(const std::string& text) {
  return !text.empty() && text[0] != '.' && text.find('/') == std::string::npos;
}

struct Budget {
  int64_t seeds = kMaxSeeds;
  std::vector<std::string> settings;
  std::vector<std::string> sets;  // empty: all

  bool has(const std::string& set) const {
    return sets.empty() || std::find(sets.begin(), sets.end(), set) != sets.end();
  }
};

Budget read_budget(const fs::path& file, const Table& root, const std::string& name) {
  std::vector<std::string> names = {kWholeBudget};
  if (const toml::node* budgets = root.find("budget"); budgets != nullptr) {
    if (!budgets->is_table())
      root.fail("budget", "budget must be a table of tables, such as [budget.full]");
    for (const auto& [key, node] : *budgets->as_table()) {
      if (key.str() == name) {
        const Table table(file, node, {"seeds", "settings", "sets"});
        return {table.seeds(kMaxSeeds), table.texts("settings"), table.texts("sets")};
      }
      if (key.str() != kWholeBudget) names.emplace_back(key.str());
    }
  }
  if (name == kWholeBudget) return {};
  throw base::UserError(fmt::format("--budget {}: {} has no such budget; it has: {}", name,
                                    file.string(), fmt::join(names, ", ")));
}

// The runs of a set, ordered by seed and then as in `models`.
std::vector<PlannedRun> read_set(const fs::path& file, const Table& set, const Budget& budget,
                                 std::optional<int64_t> seeds) {
  const std::string name = set.text("name");
  if (!is_name(name))
    set.fail("name", fmt::format("name = \"{}\" is not a valid folder name", name));
  const std::vector<std::string> models = set.texts("models");
  if (models.empty()) set.fail("name", fmt::format("set {} has no models", name));
  fs::path folder = file.parent_path();
  if (set.find("folder") != nullptr) {
    const std::string inner = set.text("folder");
    if (!is_name(inner)) {
      set.fail("folder", fmt::format("folder = \"{}\" is not a valid folder name", inner));
    }
    folder /= inner;
  }
  std::vector<std::string> settings = set.texts("settings");
  if (budget.has(name)) {  // other sets are read too, but may be of another kind of training
    settings.insert(settings.end(), budget.settings.begin(), budget.settings.end());
  }

  std::vector<PlannedRun> runs;
  for (int64_t seed = 1; seed <= seeds.value_or(std::min(set.seeds(1), budget.seeds)); ++seed) {
    std::set<std::string> seen;
    for (const std::string& model : models) {
      if (!is_name(model) || !seen.insert(model).second) {
        set.fail("models", fmt::format("\"{}\" is not a valid name, or occurs twice", model));
      }
      const fs::path path = folder / (model + ".toml");
      const Experiment experiment = read_experiment(path, settings, seed);
      runs.push_back({.name = fmt::format("{}/{}/seed{}", name, model, seed),
                      .experiment = path,
                      .settings = settings,
                      .seed = seed,
                      .epochs = experiment.train->epochs(),
                      .config = experiment.to_toml()});
    }
  }
  return runs;
}

}  // namespace

std::vector<PlannedRun> plan_reproduction(const fs::path& file, const std::string& budget_name,
                                          std::optional<int64_t> seeds) {
  const toml::table content = parse(file);
  const Table root(file, content, {"set", "budget"});
  const Budget budget = read_budget(file, root, budget_name);
  const toml::node* sets = root.find("set");
  if (sets == nullptr || !sets->is_array()) {
    throw base::UserError(fmt::format("{}: has no [[set]]", file.string()));
  }
  std::vector<PlannedRun> runs;
  std::set<std::string> names, set_names;
  for (const toml::node& node : *sets->as_array()) {
    const Table set(file, node, {"name", "models", "folder", "seeds", "settings"});
    std::vector<PlannedRun> of_set = read_set(file, set, budget, seeds);
    set_names.insert(set.text("name"));
    if (!budget.has(set.text("name"))) continue;
    for (PlannedRun& run : of_set) {
      if (!names.insert(run.name).second) {
        set.fail("name", fmt::format("{} is in a set of that name above already", run.name));
      }
      runs.push_back(std::move(run));
    }
  }
  for (const std::string& name : budget.sets) {
    if (set_names.count(name) == 0) {
      throw base::UserError(
          fmt::format("{}: budget {} names a set {}, which does not exist; there are: {}",
                      file.string(), budget_name, name, fmt::join(set_names, ", ")));
    }
  }
  std::stable_sort(runs.begin(), runs.end(),
                   [](const PlannedRun& a, const PlannedRun& b) { return a.seed < b.seed; });
  return runs;
}

}  // namespace stpn::train
