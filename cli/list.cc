// stpn list
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/places.h"
#include "stpn/base/config.h"
#include "stpn/base/error.h"
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

// A unit, op, task, trainer or experiment, and how it is listed.
struct Entry {
  std::string name;
  std::function<void()> print;
};

template <typename Registry>
void add_registry(const Registry& registry, std::vector<Entry>& entries) {
  for (const auto& entry : registry) {
    entries.push_back({entry.name, [&entry] {
                         fmt::print("{}: {}\n", entry.name, entry.summary);
                         list_fields(entry.options()->fields());
                       }});
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
void add_ops(std::vector<Entry>& entries) {
  for (const kernels::Signature* signature : ops::all_signatures()) {
    const std::string name = signature->name;
    entries.push_back({name, [name] { fmt::print("{}", ops::describe(name)); }});
  }
}

void add_experiments(std::vector<Entry>& entries) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(experiments_folder())) {
    const fs::path& path = entry.path();
    if (path.extension() == ".toml" && path.filename() != kReproductionFile) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    const std::string name = path.parent_path().filename() / path.stem();
    entries.push_back(
        {name, [path] { fmt::print("{}: {}\n", path.string(), first_comment(path)); }});
  }
}

std::vector<Entry> entries_of(const std::string& kind) {
  std::vector<Entry> entries;
  if (kind == "units") {
    add_registry(nn::unit_registry(), entries);
  } else if (kind == "ops") {
    add_ops(entries);
  } else if (kind == "tasks") {
    add_registry(tasks::sequence_task_registry(), entries);
    add_registry(tasks::environment_registry(), entries);
  } else if (kind == "trainers") {
    add_registry(train::trainer_registry(), entries);
  } else {
    add_experiments(entries);
  }
  return entries;
}

// Prints the entries of this kind, or the one of this name.
void list(const std::string& kind, const std::string& name) {
  std::vector<std::string> names;
  bool found = false;
  for (const Entry& entry : entries_of(kind)) {
    names.push_back(entry.name);
    if (!name.empty() && name != entry.name) continue;
    entry.print();
    found = true;
  }
  if (name.empty() || found) return;
  const std::string near = base::nearest(name, names);
  throw base::UserError(fmt::format("there is no {} {}: {}", kind.substr(0, kind.size() - 1), name,
                                    near.empty()
                                        ? fmt::format("there are {}", fmt::join(names, ", "))
                                        : fmt::format("did you mean {}?", near)));
}

}  // namespace

void add_list(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "list", "List units, ops, tasks, trainers or experiments, with their options");
  auto kind = std::make_shared<std::string>();
  auto name = std::make_shared<std::string>();
  command->add_option("KIND", *kind, "units, ops, tasks, trainers or experiments")
      ->required()
      ->check(CLI::IsMember({"units", "ops", "tasks", "trainers", "experiments"}));
  command->add_option("NAME", *name, "only this unit, op, task, trainer or experiment")
      ->check(kNotEmpty);
  command->footer(
      "Each unit, task and trainer is listed with its options and their defaults, as they are "
      "written\n"
      "in the tables [unit], [task] and [train] of an experiment or after --set.\n"
      "Examples:\n"
      "  stpn list units stpn_recurrent\n"
      "  stpn list experiments");
  command->callback([kind, name] { list(*kind, *name); });
}

}  // namespace stpn::cli
