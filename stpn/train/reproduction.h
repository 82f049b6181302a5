// What `stpn reproduce` runs, read from experiments/<task>/reproduce.toml:
//
//   [[set]]                           gives a table and figures; sets of the same name share them
//   name = "pairs4"
//   models = ["stpn", "lstm"]         stpn.toml and lstm.toml beside this file
//   folder = "more"                   of the models, in that of this file; default: that itself
//   seeds = 3                         seeds 1, 2 and 3; default 1
//   settings = ["task.pairs=4"]       each like an argument of `stpn train --set`
//
//   [budget.short]                    changes every set; "full" need not be in the file
//   seeds = 1                         the most seeds of a set
//   settings = ["train.epochs=50"]    applied after those of the set
//   sets = ["pairs4"]                 only these sets; default all
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace stpn::train {

// The budget that runs all of the file.
inline constexpr const char* kWholeBudget = "full";

// `stpn reproduce` accepts at most so many seeds.
inline constexpr int64_t kMaxSeeds = 1000;

struct PlannedRun {
  std::string name;  // "pairs4/stpn/seed1", also its folder within that of the reproduction
  std::filesystem::path experiment;
  std::vector<std::string> settings;
  int64_t seed = 0;
  int64_t epochs = 0;
  std::string config;  // Experiment::to_toml
};

// All runs, ordered by seed and then as in the file. `seeds`, if given, is the number of seeds of
// every set and overrides file and budget. Throws base::UserError for an error in the file or in
// one of its experiments.
std::vector<PlannedRun> plan_reproduction(const std::filesystem::path& file,
                                          const std::string& budget, std::optional<int64_t> seeds);

}  // namespace stpn::train
