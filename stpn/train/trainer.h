// The interface of a training algorithm: it trains for one epoch at a time, and tests. Checkpoints,
// metrics and resuming are the same for all and belong to the run (run/run.h).
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/config.h"
#include "stpn/base/error.h"
#include "stpn/base/safetensors.h"
#include "stpn/nn/unit_registry.h"
#include "stpn/tasks/baseline.h"
#include "stpn/tasks/task_registry.h"
#include "stpn/train/algorithms/adam.h"
#include "stpn/train/run/metrics.h"

namespace stpn::train {

// The training diverged: a loss, gradient or parameter is not finite. The message names the epoch,
// and the batch and step if they are known.
class NonFiniteLoss : public base::Error {
 public:
  using Error::Error;
};

// How far a run has progressed.
struct Progress {
  int64_t epoch = 0;  // epochs done
  int64_t step = 0;   // optimiser steps done
  int64_t best_epoch = 0;
  double best_score = -std::numeric_limits<double>::infinity();  // Trainer::score after best_epoch
  int64_t metrics_bytes = 0;  // length of metrics.jsonl after `epoch` epochs
  double wall_seconds = 0;
};

// Owns the task, the model and the optimiser.
class Trainer {
 public:
  virtual ~Trainer() = default;

  virtual torch::nn::Module& model() = 0;
  virtual Adam& adam() = 0;

  // Writes and reads what a checkpoint needs besides model and optimiser. `restore` throws
  // base::UserError for tensors that are missing or of another run.
  virtual void save(base::Safetensors& /*content*/) const {}
  virtual void restore(const base::Safetensors& /*content*/) {}

  virtual std::string items() const = 0;  // what it tests on, in the plural: "sequences"
  // What it trains on, and how many of them are in a batch.
  virtual std::string batch_items() const { return items(); }
  virtual double batch_size() const = 0;
  virtual int64_t batches() const = 0;  // of an epoch

  virtual bool finished(const Progress& progress) const = 0;

  // Trains for epoch 1, 2, ... and returns its metrics. Calls after_batch(n) when n batches are
  // done. Throws NonFiniteLoss before the parameters are updated with such a loss.
  virtual Metrics train_epoch(int64_t epoch, const std::function<void(int64_t)>& after_batch) = 0;

  // The name of the metric that shows progress. If keeps_best, the result of the run is the weights
  // of the epoch in which this metric was highest, else those of the last epoch.
  virtual std::string score() const = 0;
  virtual bool keeps_best() const = 0;

  // Runs the model on as little data as possible, so that an error in the experiment shows before
  // training begins. Throws base::UserError.
  virtual void try_out() = 0;

  // Tests on the first `count` items of the test split. Throws base::UserError if it has fewer; an
  // RL task has any number of episodes. REQUIRES: count > 0.
  virtual Metrics test(int64_t count) = 0;
  virtual int64_t test_size() const = 0;
  // The first item of the test split, step by step, as JSON (docs/formats.md); `sampled`: with
  // drawn actions, else as `test` plays it. Throws base::UserError if the task has none, or draws
  // nothing.
  virtual std::string trace(bool sampled) = 0;

  // The scores to compare the metrics with.
  virtual std::vector<tasks::Baseline> baselines() const = 0;

  // The metric of speed, given how many seconds so many epochs took.
  virtual Metric pace(int64_t epochs, double seconds) const = 0;
};

// The options of a training algorithm: the [train] table of an experiment.
class TrainerOptions {
 public:
  virtual ~TrainerOptions() = default;
  // The fields refer to members of this object. The first is `seed`.
  virtual std::vector<base::Field> fields() = 0;
  virtual int64_t epochs() const = 0;
  // The options that end the training, for messages: "train.epochs".
  virtual std::string limits() const = 0;
  // The options of a task of the kind that it trains on. Throws base::UserError as
  // tasks::find_sequence_task does.
  virtual std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                           const std::string& where) const = 0;
  // `task` must outlive the trainer. Throws base::UserError for options that do not go together.
  // REQUIRES: `task` was made by task_options.
  virtual std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                        const nn::UnitOptions& unit) const = 0;

  int64_t seed = 1;

 protected:
  base::Field seed_field() {
    return base::field(
        "seed", seed,
        "seed of the data and the initial parameters; change it to repeat an experiment",
        {.least = 0});
  }
};

struct TrainerEntry {
  std::string name;
  std::string summary;  // one line for `stpn list trainers`
  std::unique_ptr<TrainerOptions> (*options)();
};

// In the order in which `stpn list trainers` shows them.
const std::vector<TrainerEntry>& trainer_registry();

// Throws base::UserError, with the names that exist, if there is none of this name. `where` is the
// place in the experiment, for the message.
const TrainerEntry& find_trainer(const std::string& name, const std::string& where);

}  // namespace stpn::train
