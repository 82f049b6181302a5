// What a run leaves for readers: a line an epoch in metrics.jsonl, and summary.json.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "stpn/tasks/yardstick.h"

namespace stpn::train {

struct EpochMetrics {
  int64_t epoch = 0;  // done, so 1 after the first
  int64_t step = 0;   // optimiser steps done
  double wall_seconds = 0;
  double train_loss = 0;
  double validation_loss = 0;
  double validation_accuracy = 0;
  double energy_per_step = 0;
  double energy_per_sequence = 0;
};

// One line, without the newline.
std::string to_json(const EpochMetrics& metrics);

struct Summary {
  std::string experiment;
  std::string task;
  std::string model;
  int64_t seed = 0;
  int64_t parameters = 0;
  int64_t steps = 0;
  double wall_seconds = 0;
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<tasks::Yardstick> yardsticks;  // that the metrics are to be held against
  std::string version;

  double metric(const std::string& name) const;  // REQUIRES: there is one of that name.
};

// Indented, ends in a newline.
std::string to_json(const Summary& summary);

}  // namespace stpn::train
