// An experiment: everything that defines a run, read from one TOML file with three tables, [task],
// [unit] and [train].
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stpn/nn/unit_registry.h"
#include "stpn/tasks/task_registry.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

struct Experiment {
  std::string name;   // its folder and stem: "retrieval/stpn"
  std::string model;  // its stem: "stpn"
  std::string task_name;
  std::string unit_name;
  std::string algorithm;
  std::unique_ptr<tasks::TaskOptions> task;
  std::unique_ptr<nn::UnitOptions> unit;
  std::unique_ptr<TrainerOptions> train;

  // Freshly drawn. Throws base::UserError for options that are impossible together. The experiment
  // must outlive it.
  std::unique_ptr<Trainer> make_trainer() const { return train->make(*task, *unit); }

  // Every option with its value: itself an experiment that reads back to the same bits.
  std::string to_toml() const;
};

// Reads the file; `settings` (TABLE.KEY=VALUE) and then `seed` override it. Throws base::UserError
// for whatever is unknown, missing or impossible.
Experiment read_experiment(const std::filesystem::path& path,
                           const std::vector<std::string>& settings = {},
                           std::optional<int64_t> seed = {});

// What a run of an older version wrote as its Experiment::to_toml, as it would be written now: an
// option that is new since has its default. `path` is for messages. Throws as read_experiment does.
std::string brought_up_to_date(const std::string& config, const std::filesystem::path& path);

// Of two texts of Experiment::to_toml, the first option that differs, those aside that tell when to
// stop (a run may be made longer): "unit.hidden_size is 11 there and 12 here"; empty if none does.
std::string first_difference(const std::string& there, const std::string& here);

}  // namespace stpn::train
