// The way of a run, from an experiment to a finished run folder. Killed at any moment and resumed,
// a run ends in the same bits as one never killed (wall clock aside): each epoch appends its line
// of metrics first, then writes the best checkpoint if it is one, then the last, and a resumed run
// cuts the metrics back to what the last checkpoint knows of. Nor does the number of threads change
// a bit: libtorch's own ops run on one, the kernels share their work out (ops::KernelThreadsGuard).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "stpn/train/experiment.h"
#include "stpn/train/run/metrics.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// Told how a run goes on; does nothing by default.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_start(const Trainer& /*trainer*/, int64_t /*epochs_done*/, int64_t /*epochs*/) {}
  virtual void on_batch(int64_t /*epoch*/, int64_t /*done*/, int64_t /*batches*/) {}
  virtual void on_epoch(const EpochMetrics& /*metrics*/) {}
};

// Trains, and tests the weights of the best epoch, if they are kept, and the last. Nothing is
// returned where `resume` finds the run finished. Whatever is wrong with the request is thrown as
// base::UserError before anything is written; a failure under way as base::Error, with the last
// checkpoint intact.
std::optional<Summary> run_experiment(const Experiment& experiment,
                                      const std::filesystem::path& folder, bool resume,
                                      Observer& observer);

struct RunEvaluation {
  std::string task;
  std::string unit;
  int64_t epoch;      // that the weights are of
  std::string items;  // that it was tested on: "sequences"
  int64_t count;
  Metrics metrics;
  std::string trace;  // Trainer::trace, if asked for
};

// The result of a run on the first `count` of its test split; without a number, on all.
RunEvaluation evaluate_run(const std::filesystem::path& folder, std::optional<int64_t> count,
                           bool trace = false);

const std::string& version();

}  // namespace stpn::train
