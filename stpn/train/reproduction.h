// What `stpn reproduce` runs, read from experiments/<task>/reproduce.toml:
//
//   [[set]]                           a table and its figures; sets of one name share them
//   name = "pairs4"
//   models = ["stpn", "lstm"]         stpn.toml and lstm.toml beside this file
//   seeds = 3                         1, 2 and 3; without it, 1
//   settings = ["task.pairs=4"]       each as behind `stpn train --set`
//
//   [budget.short]                    what this budget changes in every set
//   seeds = 1                         at most
//   settings = ["train.epochs=50"]    after those of the set
//   sets = ["pairs4"]                 these alone; without it, all
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace stpn::train {

struct PlannedRun {
  std::string name;  // "pairs4/stpn/seed1", which is also its folder in that of the reproduction
  std::filesystem::path experiment;
  std::vector<std::string> settings;
  int64_t seed = 0;
  int64_t epochs = 0;
  std::string config;  // Experiment::to_toml
};

// Every run, first those of seed 1, and within a seed in the file's order; `seeds` is for every
// set, over file and budget. Throws base::UserError for whatever is wrong with the file or an
// experiment.
std::vector<PlannedRun> plan_reproduction(const std::filesystem::path& file,
                                          const std::string& budget, std::optional<int64_t> seeds);

}  // namespace stpn::train
