// What a run sees of a way to train: an epoch, and a test. The rest is the run's (run.h):
// checkpoints, metrics, resuming.
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

// The training diverged; the message names epoch, batch and step.
class NonFiniteLoss : public base::Error {
 public:
  using Error::Error;
};

// How far a run has come.
struct Progress {
  int64_t epoch = 0;  // epochs done
  int64_t step = 0;   // optimiser steps done
  int64_t best_epoch = 0;
  double best_score = -std::numeric_limits<double>::infinity();  // Trainer::score after best_epoch
  int64_t metrics_bytes = 0;  // length of metrics.jsonl after `epoch` epochs
  double wall_seconds = 0;
};

// Owns task, model and optimiser.
class Trainer {
 public:
  virtual ~Trainer() = default;

  virtual torch::nn::Module& model() = 0;
  virtual Adam& adam() = 0;

  // What a run needs to go on besides model and optimiser, for its checkpoint; and back. `restore`
  // throws base::UserError for what is missing or foreign.
  virtual void save(base::Safetensors& /*content*/) const {}
  virtual void restore(const base::Safetensors& /*content*/) {}

  // What it trains and tests on, in the plural, and how many make a batch, on average: "sequences",
  // 128.
  virtual std::string items() const = 0;
  virtual double batch_size() const = 0;
  virtual int64_t batches() const = 0;  // of an epoch

  virtual bool finished(const Progress& progress) const = 0;

  // Trains an epoch, from 1 on; calls after_batch(n) when n of its batches are done. What it
  // returns is its line of metrics. Throws NonFiniteLoss before such a loss reaches the parameters.
  virtual Metrics train_epoch(int64_t epoch, const std::function<void(int64_t)>& after_batch) = 0;

  // The metric to watch: the weights of the epoch where it is highest are the run's result if
  // keeps_best, else those of the last epoch.
  virtual std::string score() const = 0;
  virtual bool keeps_best() const = 0;

  // Runs what training will run on as little as it can: throws base::UserError for what the unit
  // refuses.
  virtual void try_out() = 0;

  // On the first `count` items of the test split. Throws base::UserError for more than there are;
  // a task that is played has any number. REQUIRES: count > 0.
  virtual Metrics test(int64_t count) = 0;
  virtual int64_t test_size() const = 0;
  // What happened in the first item of the test split, as JSON. Throws base::UserError if the task
  // knows of no such thing.
  virtual std::string trace() = 0;

  // What the metrics are to be held against.
  virtual std::vector<tasks::Baseline> baselines() const = 0;

  // How fast it went, given how many epochs took how long.
  virtual Metric pace(int64_t epochs, double seconds) const = 0;
};

// The options of a way to train: the [train] table of an experiment.
class TrainerOptions {
 public:
  virtual ~TrainerOptions() = default;
  // Bound to this object's members; the first is `seed`.
  virtual std::vector<base::Field> fields() = 0;
  virtual int64_t epochs() const = 0;
  // Of the kind that it trains on; throws base::UserError as tasks::find_sequence_task does.
  virtual std::unique_ptr<tasks::TaskOptions> task_options(const std::string& name,
                                                           const std::string& where) const = 0;
  // The task must outlive it. Throws base::UserError for what is impossible together. REQUIRES:
  // `task` is of task_options.
  virtual std::unique_ptr<Trainer> make(const tasks::TaskOptions& task,
                                        const nn::UnitOptions& unit) const = 0;

  int64_t seed = 1;

 protected:
  base::Field seed_field() {
    return base::field("seed", seed,
                       "of data and initial parameters; change it to repeat an experiment",
                       {.least = 0});
  }
};

struct TrainerEntry {
  std::string name;
  std::string summary;  // one line for `stpn list trainers`
  std::unique_ptr<TrainerOptions> (*options)();
};

// In the order they are listed.
const std::vector<TrainerEntry>& trainer_registry();

// Throws base::UserError if there is none of that name, naming those there are; `where` names the
// place in the experiment.
const TrainerEntry& find_trainer(const std::string& name, const std::string& where);

}  // namespace stpn::train
