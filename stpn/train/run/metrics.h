// The results of a run in text: metrics.jsonl, with one line per epoch, and summary.json.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "stpn/tasks/baseline.h"

namespace stpn::train {

using Metric = std::pair<std::string, double>;
using Metrics = std::vector<Metric>;

// REQUIRES: there is a metric of that name.
double value_of(const Metrics& metrics, const std::string& name);

struct EpochMetrics {
  int64_t epoch = 0;  // number of epochs done: 1 after the first
  int64_t step = 0;   // optimiser steps done
  double wall_seconds = 0;
  Metrics metrics;  // of the trainer
};

// One line of JSON, without the newline.
std::string to_json(const EpochMetrics& line);

struct Summary {
  std::string experiment;
  std::string task;
  std::string model;
  int64_t seed = 0;
  int64_t parameters = 0;
  int64_t steps = 0;
  double wall_seconds = 0;
  Metrics metrics;
  std::vector<tasks::Baseline> baselines;  // to compare the metrics with
  std::string version;
};

// Indented JSON that ends in a newline.
std::string to_json(const Summary& summary);

}  // namespace stpn::train
