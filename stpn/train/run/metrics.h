// What a run leaves for readers: a line an epoch in metrics.jsonl, and summary.json.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "stpn/tasks/baseline.h"

namespace stpn::train {

using Metric = std::pair<std::string, double>;
using Metrics = std::vector<Metric>;

// REQUIRES: there is one of that name.
double value_of(const Metrics& metrics, const std::string& name);

struct EpochMetrics {
  int64_t epoch = 0;  // done, so 1 after the first
  int64_t step = 0;   // optimiser steps done
  double wall_seconds = 0;
  Metrics metrics;  // the trainer's
};

// One line, without the newline.
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
  std::vector<tasks::Baseline> baselines;  // that the metrics are to be held against
  std::string version;
};

// Indented, ends in a newline.
std::string to_json(const Summary& summary);

}  // namespace stpn::train
