// An experiment defines a run completely. It is a TOML file with three tables: [task], [unit] and
// [train].
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
  std::string name;   // folder and stem of its file: "retrieval/stpn"
  std::string model;  // stem of its file: "stpn"
  std::string task_name;
  std::string unit_name;
  std::string algorithm;
  std::unique_ptr<tasks::TaskOptions> task;
  std::unique_ptr<nn::UnitOptions> unit;
  std::unique_ptr<TrainerOptions> train;

  // A trainer with newly initialised parameters. Throws base::UserError for options that do not go
  // together. The experiment must outlive the trainer.
  std::unique_ptr<Trainer> make_trainer() const { return train->make(*task, *unit); }

  // All options with their values. The text is an experiment that reads back to the same bits.
  std::string to_toml() const;
};

// Reads the file; `settings` (TABLE.KEY=VALUE) and then `seed` override it. Throws base::UserError
// for unknown or missing keys and impossible values.
Experiment read_experiment(const std::filesystem::path& path,
                           const std::vector<std::string>& settings = {},
                           std::optional<int64_t> seed = {});

// The result of Experiment::to_toml of a run of an older version, as this version writes it: an
// option that did not exist then has its default. `path` is for messages. Throws as read_experiment
// does; an option that has been renamed since is an error too.
std::string brought_up_to_date(const std::string& config, const std::filesystem::path& path);

// The first option in which two results of Experiment::to_toml differ, except for the options that
// say when to stop (a run may be made longer): "unit.hidden_size is 11 there and 12 here". Empty if
// there is none.
std::string first_difference(const std::string& there, const std::string& here);

}  // namespace stpn::train
