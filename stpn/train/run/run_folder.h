// The folder of a run:
//
//   config.toml                   the experiment, resolved; itself an experiment
//   metrics.jsonl                 a line an epoch
//   checkpoint/last.safetensors   after the last epoch: where --resume goes on
//   checkpoint/best.safetensors   after the best epoch, if the trainer keeps it
//   summary.json                  once the run is finished
//   lock                          held by the process that works on the run
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "stpn/base/files.h"
#include "stpn/train/experiment.h"

namespace stpn::train {

class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.toml"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path last() const { return path_ / "checkpoint" / "last.safetensors"; }
  std::filesystem::path best() const { return path_ / "checkpoint" / "best.safetensors"; }
  std::filesystem::path summary() const { return path_ / "summary.json"; }

  // Whether a run of this resolved experiment may start here (`resume`: or go on), with nothing
  // written yet. Throws base::UserError if not.
  void check(const std::string& config, bool resume) const;

  // Makes the folder, and keeps other processes out of the run. Throws base::UserError if one is at
  // it.
  base::FileLock lock() const;

  // Whether just this experiment has been run in it, to the end.
  bool finished(const std::string& config) const;

  // Throws base::UserError unless metrics.jsonl has at least so many bytes.
  void check_metrics(int64_t bytes) const;

  // Writes config.toml, and removes the summary of a shorter run and what a killed one left half
  // written. REQUIRES: the lock is held.
  void open(const std::string& config) const;

 private:
  std::filesystem::path path_;
};

// runs/<task>/<model>/seed<N>
std::filesystem::path default_run_folder(const Experiment& experiment);

}  // namespace stpn::train
