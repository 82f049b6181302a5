#include "stpn/train/run/run_folder.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>

#include "stpn/base/error.h"

namespace stpn::train {
namespace {

namespace fs = std::filesystem;

// Whether the folder is empty, except for what a run leaves that was killed while writing its first
// files.
bool is_unused(const fs::path& folder) {
  return std::all_of(fs::directory_iterator(folder), fs::directory_iterator(),
                     [](const fs::directory_entry& entry) {
                       const std::string name = entry.path().filename();
                       return name.starts_with("config.toml") || name == "lock";
                     });
}

// Removes the temporary files of `file` that base::write_file left in a process that was killed.
void remove_leftovers(const fs::path& file) {
  const std::string start = file.filename().string() + ".";
  for (const fs::directory_entry& entry : fs::directory_iterator(file.parent_path())) {
    const std::string name = entry.path().filename();
    if (name.starts_with(start) && name.ends_with(".tmp")) fs::remove(entry.path());
  }
}

}  // namespace

void RunFolder::check(const std::string& config, bool resume) const {
  std::error_code error;
  if (!fs::exists(path_, error)) {
    fs::path above = fs::absolute(path_).lexically_normal().parent_path();
    while (!fs::exists(above, error) && above.has_relative_path()) above = above.parent_path();
    if (!fs::is_directory(above, error) || ::access(above.c_str(), W_OK | X_OK) != 0) {
      throw base::UserError(fmt::format(
          "{}: cannot be created: {} is not a writable folder: choose another with --out",
          path_.string(), above.string()));
    }
    return;
  }
  if (!fs::is_directory(path_)) {
    throw base::UserError(
        fmt::format("{}: is not a folder: choose another with --out", path_.string()));
  }
  if (!resume && !fs::is_empty(path_)) {
    throw base::UserError(fmt::format(
        "{}: exists already: continue it with --resume, or choose another folder with --out",
        path_.string()));
  }
  if (!fs::exists(this->config())) {
    if (is_unused(path_)) return;
    throw base::UserError(
        fmt::format("{}: is not a run folder, because it has no config.toml: choose another with "
                    "--out",
                    path_.string()));
  }
  const std::string difference =
      first_difference(read_experiment(this->config()).to_toml(), config);
  if (!difference.empty()) {
    throw base::UserError(
        fmt::format("{}: has another experiment: {}: choose another folder with --out",
                    path_.string(), difference));
  }
  check_last_checkpoint();
}

void RunFolder::check_last_checkpoint() const {
  if (fs::exists(last())) return;
  const int64_t epochs = this->epochs();
  const bool has_best = fs::exists(best()), has_summary = fs::exists(summary());
  // A run that is killed in its first epoch leaves at most a line of metrics and, after it, the
  // best weights. Starting over repeats that epoch and gives the same bits.
  if (epochs <= 1 && (!has_best || epochs == 1) && !has_summary) return;
  std::vector<std::string> present;
  if (epochs > 0) present.push_back(fmt::format("metrics.jsonl (epochs: {})", epochs));
  if (has_best) present.push_back("checkpoint/best.safetensors");
  if (has_summary) present.push_back("summary.json");
  throw base::UserError(fmt::format(
      "{}: cannot be resumed: checkpoint/last.safetensors is missing, but the folder has {}: put "
      "that file back, or start anew in another folder (--out) or after moving this one away",
      path_.string(), fmt::join(present, ", ")));
}

int64_t RunFolder::epochs() const {
  if (!fs::exists(metrics())) return 0;
  const std::string lines = base::read_file(metrics());
  return std::count(lines.begin(), lines.end(), '\n');
}

base::FileLock RunFolder::lock() const {
  std::error_code error;
  fs::create_directories(path_, error);  // the lock reports an error
  base::FileLock lock(path_ / "lock");
  if (!lock.held()) {
    throw base::UserError(fmt::format(
        "{}: another process is working on this run: wait for it to end, or choose another folder "
        "with --out",
        path_.string()));
  }
  return lock;
}

bool RunFolder::finished(const std::string& config) const {
  return fs::exists(summary()) && fs::exists(this->config()) &&
         read_experiment(this->config()).to_toml() == config;
}

void RunFolder::check_metrics(int64_t bytes) const {
  std::error_code error;
  const auto size = fs::file_size(metrics(), error);
  if (error || static_cast<int64_t>(size) < bytes) {
    throw base::UserError(
        fmt::format("{}: is missing or shorter than the {} bytes that the last checkpoint accounts "
                    "for: the run "
                    "cannot be resumed",
                    metrics().string(), bytes));
  }
}

void RunFolder::open(const std::string& config) const {
  try {
    if (!fs::exists(this->config()) || base::read_file(this->config()) != config) {
      base::write_file(this->config(), config);
    }
    fs::create_directories(last().parent_path());
    fs::remove(summary());
    fs::remove(diverged());
    for (const fs::path& file : {this->config(), summary(), diverged(), last(), best()}) {
      remove_leftovers(file);
    }
  } catch (const fs::filesystem_error& error) {
    throw base::Error(
        fmt::format("{}: cannot be created: {}", path_.string(), error.code().message()));
  }
}

fs::path default_run_folder(const Experiment& experiment) {
  return fs::path("runs") / experiment.task_name / experiment.model /
         fmt::format("seed{}", experiment.train->seed);
}

}  // namespace stpn::train
