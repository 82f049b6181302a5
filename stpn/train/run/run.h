// A run: trains an experiment, tests the result and writes it into a run folder.
//
// A run that is killed at any moment and resumed gives the same bits as one that is never killed,
// except for wall-clock times. To that end each epoch first appends its line of metrics, then
// writes the best checkpoint (if the epoch is the best so far) and finally the last checkpoint; a
// resumed run truncates the metrics to the lines that the last checkpoint accounts for. The number
// of threads does not change a bit either: libtorch's own operations run on one thread, and only
// our kernels share their work among threads (ops::KernelThreadsGuard). Nor does the number of
// processes (processes::group), which may be another after a resumption. The first of them alone
// reads and writes the run folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "stpn/train/experiment.h"
#include "stpn/train/run/metrics.h"
#include "stpn/train/trainer.h"

namespace stpn::train {

// The most sequences or episodes that a run or a policy is tested on.
inline constexpr int64_t kMostTested = 10'000'000;

// Receives the progress of a run. Does nothing by default.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_start(const Trainer& /*trainer*/, int64_t /*epochs_done*/, int64_t /*epochs*/) {}
  virtual void on_batch(int64_t /*epoch*/, int64_t /*done*/, int64_t /*batches*/) {}
  virtual void on_epoch(const EpochMetrics& /*metrics*/) {}
};

// Trains, then tests the weights of the last epoch and, if the trainer keeps them, of the best. The
// observer is called in the first process only. `device` is where the unit runs
// (ops::kernel_device_of).
// Returns nothing if `resume` is given and the run has finished already. An error in the request is
// thrown as base::UserError before anything is written; a later failure as base::Error, which
// leaves the last checkpoint intact.
std::optional<Summary> run_experiment(const Experiment& experiment,
                                      const std::filesystem::path& folder, bool resume,
                                      Observer& observer, const std::string& device = "cpu");

// Of the first item of the test split: none, one as the trainer tests, or one with drawn actions.
enum class Trace { none, as_tested, sampled };

struct RunEvaluation {
  std::string task;
  std::string unit;
  int64_t epoch;      // after which the weights were saved
  std::string items;  // what it was tested on: "sequences"
  int64_t count;
  Metrics metrics;
  std::vector<tasks::Baseline> baselines;
  std::string trace;  // Trainer::trace, if requested
};

// Tests the result of a run on the first `count` items of the test split; if not given, on all.
// `settings` (task.KEY=VALUE) change the task that it is tested on, not the model.
RunEvaluation evaluate_run(const std::filesystem::path& folder, std::optional<int64_t> count,
                           Trace trace = Trace::none,
                           const std::vector<std::string>& settings = {});

const std::string& version();

}  // namespace stpn::train
