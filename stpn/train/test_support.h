// Shared by the tests of this folder: a temporary folder for each test, and a small experiment.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/testing.h"
#include "stpn/train/algorithms/supervised/supervised.h"
#include "stpn/train/experiment.h"

namespace stpn::train {

inline constexpr const char* kSmall = R"(# A small experiment.
[task]
name = "associative_retrieval"
pairs = 2
training = 300
validation = 70
test = 130

[unit]
name = "lstm"
hidden_size = 5

[train]
algorithm = "supervised"
epochs = 4
batch_size = 32
learning_rate = 1e-2
)";

using base::testing::error_of;

inline std::unique_ptr<tasks::SequenceTask> task_of(const Experiment& experiment) {
  return make_task(*experiment.task, experiment.train->seed);
}
inline std::shared_ptr<nn::Classifier> model_of(const Experiment& experiment) {
  return make_classifier(*experiment.unit, *task_of(experiment), experiment.train->seed);
}

class TrainTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  Experiment small(const std::vector<std::string>& settings = {}) const {
    return read_experiment(write("small.toml", kSmall), settings);
  }

  const base::testing::Folder own_;
  const std::filesystem::path folder_ = own_.path();
};

}  // namespace stpn::train
