// Metrics of a sweep over difficulties, such as test_accuracy_interval_10, as a table.
#pragma once

#include <string>

#include "stpn/train/run/metrics.h"

namespace stpn::cli {

// The metrics that are of no sweep.
train::Metrics without_sweep(const train::Metrics& metrics);

// A line for each difficulty, with a header; empty without a sweep. Ends in a newline.
//
//   interval  test accuracy  test true positive rate
//          1         0.9981                   0.9962
std::string sweep_table(const train::Metrics& metrics);

}  // namespace stpn::cli
