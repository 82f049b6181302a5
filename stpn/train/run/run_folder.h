// The folder of a run:
//
//   config.toml                   the experiment with all its options; an experiment itself
//   metrics.jsonl                 one line per epoch
//   events.out.tfevents.stpn      the same for TensorBoard, if asked for
//   checkpoint/last.safetensors   after the last epoch; --resume continues from it
//   checkpoint/best.safetensors   after the best epoch, if the trainer keeps it
//   summary.json                  written when the run has finished
//   diverged                      written when it stops because a value is not finite: says which
//   lock                          locked by the process that works on the run
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
  // TensorBoard reads files with "tfevents" in their names.
  std::filesystem::path events() const { return path_ / "events.out.tfevents.stpn"; }
  std::filesystem::path last() const { return path_ / "checkpoint" / "last.safetensors"; }
  std::filesystem::path best() const { return path_ / "checkpoint" / "best.safetensors"; }
  std::filesystem::path summary() const { return path_ / "summary.json"; }
  std::filesystem::path diverged() const { return path_ / "diverged"; }

  // Checks, before anything is written, that a run of this experiment (Experiment::to_toml) may
  // start here or, with `resume`, continue. Throws base::UserError if not, also if the run has got
  // further than its first epoch but its last checkpoint is missing: starting over would replace
  // what there is.
  void check(const std::string& config, bool resume) const;

  // Creates the folder and locks it against other processes. Throws base::UserError if another
  // process has locked it.
  base::FileLock lock() const;

  // Whether the folder has a finished run of exactly this experiment. Throws base::UserError if its
  // config.toml cannot be read.
  bool finished(const std::string& config) const;

  // Epochs that metrics.jsonl has; 0 if there is none. Throws base::Error if it cannot be read.
  int64_t epochs() const;

  // Throws base::UserError unless metrics.jsonl has at least this many bytes.
  void check_metrics(int64_t bytes) const;

  // Writes config.toml, and removes the summary of an earlier, shorter run, the mark of a diverged
  // one and the unfinished files of a killed one. REQUIRES: the caller has the lock.
  void open(const std::string& config) const;

 private:
  void check_last_checkpoint() const;

  std::filesystem::path path_;
};

// runs/<task>/<model>/seed<N>
std::filesystem::path default_run_folder(const Experiment& experiment);

}  // namespace stpn::train
