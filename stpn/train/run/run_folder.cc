#include "stpn/train/run/run_folder.h"

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

// Removes the temporary files of base::write_file that a killed process left.
void remove_leftovers(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".tmp") fs::remove(entry.path());
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
        fmt::format("{}: is not a run folder: choose another with --out", path_.string()));
  }
  const std::string difference =
      first_difference(read_experiment(this->config()).to_toml(), config);
  if (!difference.empty()) {
    throw base::UserError(
        fmt::format("{}: has another experiment: {}: choose another folder with --out",
                    path_.string(), difference));
  }
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
    remove_leftovers(path_);
    remove_leftovers(last().parent_path());
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
