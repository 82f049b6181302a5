// Runs over several processes, which are threads here; tests/program/processes_test.py has real
// ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "stpn/train/run/run_test_support.h"

namespace stpn::train::processes_test {
namespace {

using processes::Group;

class ProcessesTest : public RunTest {
 protected:
  // Two shards of sequences, and three batches to test on.
  Experiment two_shards(std::vector<std::string> settings = {}) const {
    settings.insert(settings.begin(), {"train.batch_size=150", "task.test=1130"});
    return small(settings);
  }
  std::shared_ptr<processes::Memory> run_all(int count, const Experiment& experiment,
                                             const std::string& out) const {
    return processes::run_processes(count, std::chrono::seconds(60), [&](Group&) {
      Observer silent;
      EXPECT_TRUE(run_experiment(experiment, folder_ / out, false, silent));
    });
  }
  // What process 0 says when a run fails.
  std::string error_of_run(int count, const std::function<Experiment(int)>& experiment,
                           Observer& observer) const {
    std::vector<Experiment> of_rank;  // made one after the other: each is read from the same file
    for (int rank = 0; rank < count; ++rank) of_rank.push_back(experiment(rank));
    std::string error;
    processes::run_processes(count, std::chrono::seconds(60), [&](Group& group) {
      try {
        run_experiment(of_rank[group.rank()], folder_ / "failed", false, observer);
      } catch (const base::Error& thrown) {
        if (group.is_first()) error = thrown.what();
        group.fail(1, thrown.what(), /*lost=*/false, [](const std::string&) {});
      }
    });
    return error;
  }
};

TEST_F(ProcessesTest, ChangeNoBit) {
  const std::vector<std::vector<std::string>> variants = {
      {},
      {"train.piece_length=2", "train.energy_weight=0.01"},
      {"train.batch_size=32"},  // one shard, for the first process
      // Gradients that libtorch returns with strides.
      {"unit.normalised=true"},
  };
  for (size_t i = 0; i < variants.size(); ++i) {
    const Experiment experiment = two_shards(variants[i]);
    const std::string alone = fmt::format("alone{}", i);
    run_all(1, experiment, alone);
    for (const int count : {2, 3}) {
      const std::string out = fmt::format("in{}_{}", count, i);
      run_all(count, experiment, out);
      expect_same_bits(alone, out);
      const auto summary = [&](const std::string& name) {
        auto json = nlohmann::json::parse(base::read_file(RunFolder(folder_ / name).summary()));
        json.erase("wall_seconds");
        json["metrics"].erase("seconds_per_epoch");
        return json;
      };
      EXPECT_EQ(summary(alone), summary(out));
    }
  }
}

TEST_F(ProcessesTest, PassTheMessagesThatTheDocumentationCounts) {
  const auto count_of = [&](int epochs) {
    const auto memory = run_all(3, two_shards({fmt::format("train.epochs={}", epochs)}),
                                fmt::format("epochs{}", epochs));
    return std::pair(memory->count, memory->bytes);
  };
  const auto [few, few_bytes] = count_of(2);
  const auto [many, many_bytes] = count_of(3);
  // An epoch has two updates. In each, two processes report their targets to the first, which
  // passes the sum to both; the gradient goes from the first to the second, and on to both others.
  // Then there are the evaluation, of one batch, which the first passes to both others; and the
  // digests, reported to it and passed on.
  const int64_t update = 4 + 3, evaluation = 2;
  EXPECT_EQ(many - few, 2 * update + evaluation + 4);
  const auto experiment = two_shards();
  const int64_t gradient = 4 * nn::parameter_count(*model_of(experiment));
  EXPECT_GT(many_bytes - few_bytes, 2 * 3 * gradient);
  EXPECT_LT(many_bytes - few_bytes, 2 * 3 * gradient + 8192);
}

TEST_F(ProcessesTest, ADivergingRunIsReportedByTheFirst) {
  Observer silent;
  const auto experiment = [&](int) { return two_shards({"train.learning_rate=1e38"}); };
  EXPECT_THAT(error_of_run(2, experiment, silent),
              testing::AllOf(testing::StartsWith("loss is"), HasSubstr("learning_rate")));
  EXPECT_TRUE(std::filesystem::exists(RunFolder(folder_ / "failed").diverged()));
}

TEST_F(ProcessesTest, HaveToRunTheSameExperiment) {
  Observer silent;
  std::mutex mutex;
  const auto experiment = [&](int rank) {
    const std::lock_guard lock(mutex);  // the experiment is a file
    return two_shards({fmt::format("train.seed={}", rank)});
  };
  EXPECT_THAT(error_of_run(2, experiment, silent),
              testing::StartsWith("process 1 of 2: has another experiment than process 0"));
  EXPECT_FALSE(std::filesystem::exists(RunFolder(folder_ / "failed").config()));
}

TEST_F(ProcessesTest, WithOtherWeightsEndTheRun) {
  class Meddler : public Observer {
    void on_batch(int64_t, int64_t, int64_t) override {
      const torch::NoGradGuard no_grad;
      weights.view(-1)[0] += 1;
    }
    void on_start(const Trainer& trainer, int64_t, int64_t) override {
      weights = const_cast<Trainer&>(trainer).model().parameters()[0];
    }
    torch::Tensor weights;
  } meddler;
  std::mutex mutex;
  const auto experiment = [&](int) {
    const std::lock_guard lock(mutex);
    return two_shards();
  };
  EXPECT_THAT(error_of_run(2, experiment, meddler),
              HasSubstr("process 1 of 2 has other weights than process 0 after epoch 1"));
  EXPECT_FALSE(std::filesystem::exists(RunFolder(folder_ / "failed").last()));
}

}  // namespace
}  // namespace stpn::train::processes_test
