// Shared by the tests of runs: runs small experiments, interrupts them, compares their bits.
#pragma once

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/files.h"
#include "stpn/base/safetensors.h"
#include "stpn/processes/memory_test_support.h"
#include "stpn/train/run/run.h"
#include "stpn/train/run/run_folder.h"
#include "stpn/train/test_support.h"

namespace stpn::train {

using testing::HasSubstr;

class Interrupted : public std::exception {};

// Interrupts a run in the middle of an epoch.
class Interrupter : public Observer {
 public:
  Interrupter(int64_t epoch, int64_t batch) : epoch_(epoch), batch_(batch) {}
  void on_batch(int64_t epoch, int64_t done, int64_t) override {
    if (epoch == epoch_ && done == batch_) throw Interrupted();
  }

 private:
  int64_t epoch_, batch_;
};

class RunTest : public TrainTest {
 protected:
  std::optional<Summary> run(const std::string& out, const std::vector<std::string>& settings = {},
                             bool resume = false) const {
    Observer silent;
    return run_experiment(small(settings), folder_ / out, resume, silent);
  }
  void interrupt(const std::string& out, int64_t epoch, int64_t batch, bool resume = false) const {
    Interrupter interrupter(epoch, batch);
    EXPECT_THROW(run_experiment(small(), folder_ / out, resume, interrupter), Interrupted);
  }
  // metrics.jsonl without the wall clock.
  std::vector<nlohmann::json> metrics(const std::string& out) const {
    std::istringstream text(base::read_file(RunFolder(folder_ / out).metrics()));
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(text, line);) {
      lines.push_back(nlohmann::json::parse(line));
      EXPECT_EQ(lines.back().erase("wall_seconds"), 1u);
    }
    return lines;
  }
  void expect_same_bits(const std::string& one, const std::string& two) const {
    expect_same_last(one, two);
    expect_same_tensors(RunFolder(folder_ / one).best(), RunFolder(folder_ / two).best());
  }
  // For a trainer that does not keep the best.
  void expect_same_last(const std::string& one, const std::string& two) const {
    EXPECT_EQ(metrics(one), metrics(two));
    expect_same_tensors(RunFolder(folder_ / one).last(), RunFolder(folder_ / two).last());
  }
  // Runs an experiment in several processes. Returns whether it was interrupted.
  bool run_in(int processes, const Experiment& experiment, const std::string& out,
              Observer& observer) const {
    const auto memory =
        processes::run_processes(processes, std::chrono::seconds(60), [&](processes::Group& group) {
          try {
            EXPECT_TRUE(run_experiment(experiment, folder_ / out, /*resume=*/true, observer));
          } catch (const Interrupted&) {
            group.fail(1, "", /*lost=*/false, [](const std::string&) {});
          }
        });
    return memory->aborted_by == 0;
  }
  // Runs an experiment on one thread; and on three and in several processes, interrupted and
  // resumed. `name` is that of the first run's folder.
  void expect_same_bits_when_broken(const Experiment& experiment, const std::string& name) const {
    const int threads = torch::get_num_threads();
    const std::string broken = "broken_" + name;
    Observer silent;
    torch::set_num_threads(1);
    ASSERT_TRUE(run_experiment(experiment, folder_ / name, false, silent));
    torch::set_num_threads(3);
    Interrupter early(1, 2), late(3, 1);
    EXPECT_TRUE(run_in(2, experiment, broken, early));
    EXPECT_THROW(run_experiment(experiment, folder_ / broken, true, late), Interrupted);
    EXPECT_FALSE(run_in(3, experiment, broken, silent));
    expect_same_last(name, broken);
    torch::set_num_threads(threads);
  }
  static void expect_same_tensors(const std::filesystem::path& one,
                                  const std::filesystem::path& two) {
    const auto p = base::read_safetensors(one);
    const auto q = base::read_safetensors(two);
    ASSERT_EQ(p.tensors.size(), q.tensors.size());
    for (const auto& tensor : p.tensors)
      EXPECT_TRUE(tensor.bytes == q.at(tensor.name).bytes) << two << " " << tensor.name;
  }
};

}  // namespace stpn::train
