// stpn list
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/places.h"
#include "stpn/base/config.h"
#include "stpn/nn/unit_registry.h"
#include "stpn/ops/units/signatures.h"
#include "stpn/tasks/task_registry.h"
#include "stpn/train/trainer.h"

namespace stpn::cli {
namespace {

namespace fs = std::filesystem;

std::string default_of(const base::Field& field) {
  return std::visit(
      [](const auto* value) {
        if constexpr (std::is_same_v<decltype(value), const std::string*>) {
          return fmt::format("\"{}\"", *value);
        } else {
          return fmt::format("{}", *value);
        }
      },
      field.value);
}

void list_fields(const std::vector<base::Field>& fields) {
  for (const base::Field& field : fields) {
    fmt::print("  {:<34}  {}", field.key + " = " + default_of(field), field.help);
    if (!field.choices.empty()) fmt::print(" ({})", fmt::join(field.choices, " | "));
    fmt::print("\n");
  }
}

template <typename Registry>
void list_registry(const Registry& registry) {
  for (const auto& entry : registry) {
    fmt::print("{}: {}\n", entry.name, entry.summary);
    list_fields(entry.options()->fields());
  }
}

// The first line of the file without "# ", if it is a comment; else empty.
std::string first_comment(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line.starts_with("# ") ? line.substr(2) : "";
}

// The torch ops of the fused units, with every tensor and option.
void list_ops() {
  for (const kernels::Signature* signature : ops::all_signatures()) {
    fmt::print("{}", ops::describe(signature->name));
  }
}

void list_experiments() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(experiments_folder())) {
    const fs::path& path = entry.path();
    if (path.extension() == ".toml" && path.filename() != kReproductionFile) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    fmt::print("{}: {}\n", path.string(), first_comment(path));
  }
}

}  // namespace

void add_list(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "list", "List units, ops, tasks, trainers or experiments, with their options");
  auto kind = std::make_shared<std::string>();
  command->add_option("KIND", *kind, "units, ops, tasks, trainers or experiments")
      ->required()
      ->check(CLI::IsMember({"units", "ops", "tasks", "trainers", "experiments"}));
  command->footer(
      "Each unit, task and trainer is listed with its options and their defaults, as they are "
      "written\n"
      "in the tables [unit], [task] and [train] of an experiment or after --set.");
  command->callback([kind] {
    if (*kind == "units") {
      list_registry(nn::unit_registry());
    } else if (*kind == "ops") {
      list_ops();
    } else if (*kind == "tasks") {
      list_registry(tasks::sequence_task_registry());
      list_registry(tasks::environment_registry());
    } else if (*kind == "trainers") {
      list_registry(train::trainer_registry());
    } else {
      list_experiments();
    }
  });
}

}  // namespace stpn::cli
