// What the tests of this folder share: a folder of their own and a small experiment.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/base/files.h"
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

class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("stpn_{}_{}_{}", info->test_suite_name(), info->name(), getpid());
    std::filesystem::create_directories(folder_);
  }
  ~TrainTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  Experiment small(const std::vector<std::string>& settings = {}) const {
    return read_experiment(write("small.toml", kSmall), settings);
  }

  std::filesystem::path folder_;
};

// The message of the base::UserError that `call` throws.
template <typename Call>
std::string user_error_of(const Call& call) {
  try {
    call();
  } catch (const base::UserError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no UserError";
  return "";
}

}  // namespace stpn::train
