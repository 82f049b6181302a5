// How well a model does on a split of a supervised task, also at other difficulties than the one it
// was trained at.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "stpn/nn/models/classifier.h"
#include "stpn/tasks/sequence_task.h"
#include "stpn/train/run/metrics.h"

namespace stpn::train {

// Accuracy and loss are means over all targets of the sequences. Energy is summed over neurons, and
// is a mean over the sequences' steps (energy_per_step), or over the sequences.
struct Evaluation {
  double accuracy = 0;
  double loss = 0;
  double energy_per_step = 0;
  double energy_per_sequence = 0;
  // Of a task with one class: the share of the targets yes, and of the targets no, that are
  // answered with yes. NaN for other tasks, and if there is no such target.
  double true_positive_rate = std::numeric_limits<double>::quiet_NaN();
  double false_positive_rate = std::numeric_limits<double>::quiet_NaN();
  // Of a task with parts: their names, and the accuracies of their targets.
  std::vector<std::pair<std::string, double>> parts = {};
};

// The accuracy and those of the parts: "test_accuracy", "test_recall_accuracy".
Metrics accuracies(const std::string& split, const Evaluation& evaluation);

// Evaluates the first `count` sequences of a split, `piece_length` steps at a time (0: all), which
// takes less memory for long sequences. REQUIRES: 0 < count <= task.size(split).
Evaluation evaluate(nn::Classifier& model, const tasks::SequenceTask& task, tasks::Split split,
                    int64_t count, int64_t piece_length = 0);

struct AtDifficulty {
  int64_t difficulty = 0;
  Evaluation result;
};

// How a model generalises, on the first `count` test sequences: at the task's own difficulty and at
// those at which it compares models. With one class: at difficulty 1 and then always 1.3 times as
// much, rounded up, until true positives are not more frequent than false ones (Tyulmankov, Yang,
// Abbott 2022), but at least up to those, because some models fail at lower ones. In ascending
// order; empty for tasks without a difficulty.
std::vector<AtDifficulty> sweep(nn::Classifier& model, const tasks::SequenceTask& task,
                                int64_t count, int64_t piece_length = 0);

// Of the test split: test_accuracy and so on, and of the sweep those like
// test_accuracy_interval_10.
Metrics test_metrics(nn::Classifier& model, const tasks::SequenceTask& task, int64_t count,
                     int64_t piece_length = 0);

}  // namespace stpn::train
