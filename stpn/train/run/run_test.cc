#include "stpn/train/run/run.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "stpn/ops/runtime/kernel_device.h"
#include "stpn/train/run/run_test_support.h"

namespace stpn::train::run_test {
namespace {

TEST_F(RunTest, WritesACompleteRunFolder) {
  const auto summary = run("run");
  ASSERT_TRUE(summary);
  const RunFolder folder(folder_ / "run");
  EXPECT_EQ(base::read_file(folder.config()), small().to_toml());
  const auto lines = metrics("run");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[3]["epoch"], 4);
  EXPECT_EQ(lines[3]["step"], 4 * 9);  // 300 / 32 whole batches
  for (const char* key : {"train_loss", "validation_loss", "validation_accuracy", "energy_per_step",
                          "energy_per_sequence"}) {
    EXPECT_TRUE(lines[0][key].is_number_float()) << key;
  }
  const auto json = nlohmann::json::parse(base::read_file(folder.summary()));
  EXPECT_EQ(json["experiment"], small().name);
  EXPECT_EQ(json["task"], "associative_retrieval");
  EXPECT_EQ(json["model"], "small");
  EXPECT_EQ(json["seed"], 1);
  EXPECT_EQ(json["steps"], 36);
  EXPECT_EQ(json["parameters"], 4 * 5 * (37 + 5 + 2) + 37 * (5 + 1));
  EXPECT_EQ(json["version"], version());
  for (const char* key :
       {"test_accuracy", "last_test_accuracy", "validation_accuracy", "best_epoch",
        "energy_per_step", "energy_per_sequence", "seconds_per_epoch"}) {
    EXPECT_TRUE(json["metrics"][key].is_number()) << key;
  }
  for (const auto& [name, value] : task_of(small())->baselines()) {
    EXPECT_EQ(json["baselines"][name], value);
  }
  EXPECT_FALSE(json["baselines"].empty());
  const auto evaluation = evaluate_run(folder_ / "run", {});
  EXPECT_EQ(value_of(evaluation.metrics, "test_accuracy"),
            json["metrics"]["test_accuracy"].get<double>());
  EXPECT_EQ(evaluation.epoch, json["metrics"]["best_epoch"].get<int64_t>());
  EXPECT_EQ(evaluation.count, 130);
}

TEST_F(RunTest, ResumedEndsInTheBitsOfAnUnbrokenRun) {
  run("whole");
  interrupt("broken", 1, 3);  // nothing saved yet
  interrupt("broken", 2, 9, /*resume=*/true);
  interrupt("broken", 4, 1, /*resume=*/true);
  ASSERT_TRUE(run("broken", {}, /*resume=*/true));
  expect_same_bits("whole", "broken");
}

TEST_F(RunTest, AUnitWithoutKernelsForAGpuIsRefusedThere) {
  const ops::KernelDeviceGuard guard(torch::Device(torch::kCUDA, 1));
  EXPECT_EQ(error_of([&] { run("run"); }),
            "--device cuda:1: unit lstm has no kernels for a GPU; stpn_recurrent, "
            "stpn_feedforward, backpropamine, fast_weights have");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

constexpr const char* kStreams = R"(
[task]
name = "familiarity"
inputs = 12
interval = 1
length = 30
validation = 2
test = 2

[unit]
name = "stpn_feedforward"
hidden_size = 4
bounded_lambda = true
lambda_low = 0.98
lambda_high = 1.0
initialisation = "normal"

[train]
algorithm = "supervised"
epochs = 5
passes = 3
batch_size = 1
learning_rate = 1e-2
)";

TEST_F(RunTest, NewDataAndACurriculumResumeInTheSameBitsToo) {
  const auto streams = [&](const std::vector<std::string>& settings) {
    return read_experiment(write("streams.toml", kStreams), settings);
  };
  expect_same_bits_when_broken(streams({}), "same");
  expect_same_bits_when_broken(streams({"train.new_data=true"}), "new");
  EXPECT_NE(metrics("same").back(), metrics("new").back());
  // An accuracy of 0 always counts as solved.
  const std::vector<std::string> curriculum = {"train.new_data=true", "train.solved_accuracy=0",
                                               "train.hardest=4"};
  expect_same_bits_when_broken(streams(curriculum), "curriculum");
  std::vector<int64_t> intervals;
  for (const auto& line : metrics("curriculum")) intervals.push_back(line["interval"]);
  EXPECT_EQ(intervals, (std::vector<int64_t>{1, 2, 3, 4, 4}));
  const auto weights = base::read_safetensors(RunFolder(folder_ / "new").last());
  const base::NamedTensor& lambda = weights.at("unit.weight_lambda");
  const auto* value = reinterpret_cast<const float*>(lambda.bytes.data());
  const auto count = static_cast<int64_t>(lambda.bytes.size() / sizeof(float));
  EXPECT_LE(*std::max_element(value, value + count), 1);
  EXPECT_GT(std::count(value, value + count, 1.0f), 0) << "no bound was reached";
  EXPECT_THAT(error_of([&] {
                streams({"train.solved_accuracy=1", "train.patience=2"}).make_trainer();
              }),
              HasSubstr("train.patience"));
  EXPECT_THAT(error_of([&] { small({"train.solved_accuracy=1"}).make_trainer(); }),
              HasSubstr("no difficulty"));
  EXPECT_THAT(error_of([&] { small({"train.new_data=true"}).make_trainer(); }),
              HasSubstr("train.new_data"));
}

TEST_F(RunTest, ResumeRemovesMetricsThatTheCheckpointDoesNotAccountFor) {
  run("whole");
  interrupt("broken", 3, 2);
  const RunFolder folder(folder_ / "broken");
  std::ofstream(folder.metrics(), std::ios::app) << "{\"epoch\": 3, \"half a li";
  std::ofstream(folder.path() / "checkpoint" / "last.safetensors.1.0.tmp") << "half a checkpoint";
  run("broken", {}, /*resume=*/true);
  expect_same_bits("whole", "broken");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoint" / "last.safetensors.1.0.tmp"));
}

TEST_F(RunTest, ARunThatWasKilledInItsFirstEpochStartsAgain) {
  run("whole");
  run("one", {"train.epochs=1"});
  const RunFolder one(folder_ / "one");
  // What the first epoch writes, in this order; a process may be killed after each.
  for (const std::string stage : {"lock", "config", "metrics", "line", "best"}) {
    const RunFolder folder(folder_ / stage);
    folder.lock();
    if (stage != "lock") folder.open(small().to_toml());
    if (stage == "metrics") std::ofstream(folder.metrics()) << "{\"epoch\": 1, \"hal";
    if (stage == "line" || stage == "best") {
      std::filesystem::copy_file(one.metrics(), folder.metrics());
    }
    if (stage == "best") std::filesystem::copy_file(one.best(), folder.best());
    EXPECT_THAT(base::testing::error_of([&] { run(stage); }), HasSubstr("--resume"));
    ASSERT_TRUE(run(stage, {}, /*resume=*/true)) << stage;
    expect_same_bits("whole", stage);
  }
}

TEST_F(RunTest, WithoutItsLastCheckpointARunIsNotReplaced) {
  namespace fs = std::filesystem;
  const std::vector<std::vector<std::string>> losses = {
      {},
      {"checkpoint/best.safetensors"},
      {"summary.json"},
      {"metrics.jsonl"},
      {"metrics.jsonl", "summary.json"},
      {"metrics.jsonl", "checkpoint"},
  };
  for (size_t i = 0; i < losses.size(); ++i) {
    const std::string name = fmt::format("run{}", i);
    run(name);
    const RunFolder folder(folder_ / name);
    fs::remove(folder.last());
    for (const std::string& lost : losses[i]) fs::remove_all(folder.path() / lost);
    const auto content = [&] {
      std::map<std::string, std::string> files;
      for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
        if (entry.is_regular_file()) files[entry.path()] = base::read_file(entry.path());
      }
      return files;
    };
    const auto before = content();
    const std::string message =
        base::testing::error_of([&] { run(name, {"train.epochs=9"}, /*resume=*/true); });
    EXPECT_THAT(message,
                testing::AllOf(HasSubstr("last.safetensors is missing"), HasSubstr("--out")));
    for (const fs::path& file : {folder.metrics(), folder.best(), folder.summary()}) {
      EXPECT_EQ(message.find(file.filename()) != std::string::npos, fs::exists(file)) << message;
    }
    EXPECT_EQ(content(), before);
  }
}

TEST_F(RunTest, OnlyItsOwnTemporaryFilesAreRemoved) {
  interrupt("run", 2, 1);
  const auto file = [&](const std::string& name) { return folder_ / "run" / name; };
  for (const char* name : {"config.toml.1.0.tmp", "checkpoint/best.safetensors.7.3.tmp",
                           "notes.tmp", "checkpoint/kept.tmp"}) {
    std::ofstream(file(name)) << "x";
  }
  run("run", {}, /*resume=*/true);
  EXPECT_FALSE(std::filesystem::exists(file("config.toml.1.0.tmp")));
  EXPECT_FALSE(std::filesystem::exists(file("checkpoint/best.safetensors.7.3.tmp")));
  EXPECT_TRUE(std::filesystem::exists(file("notes.tmp")));
  EXPECT_TRUE(std::filesystem::exists(file("checkpoint/kept.tmp")));
}

TEST_F(RunTest, MoreEpochsContinueAFinishedRun) {
  run("whole");
  ASSERT_TRUE(run("grown", {"train.epochs=2"}));
  ASSERT_TRUE(run("grown", {}, /*resume=*/true));
  expect_same_bits("whole", "grown");
  EXPECT_EQ(base::read_file(RunFolder(folder_ / "grown").config()), small().to_toml());
  const std::string summary = base::read_file(RunFolder(folder_ / "grown").summary());
  EXPECT_FALSE(run("grown", {}, /*resume=*/true)) << "a finished run is not changed";
  EXPECT_FALSE(run("grown", {"train.epochs=3"}, /*resume=*/true));
  EXPECT_EQ(base::read_file(RunFolder(folder_ / "grown").summary()), summary);
}

TEST_F(RunTest, ALostSummaryIsWrittenAgain) {
  run("run");
  const RunFolder folder(folder_ / "run");
  const auto metric = [&] {
    return nlohmann::json::parse(base::read_file(folder.summary()))["metrics"]["test_accuracy"];
  };
  const auto before = metric();
  std::filesystem::remove(folder.summary());
  ASSERT_TRUE(run("run", {}, /*resume=*/true));
  EXPECT_EQ(metric(), before);
}

TEST_F(RunTest, ThreadsChangeNoBit) {
  const int threads = torch::get_num_threads();
  for (const std::string unit : {"lstm", "stpn_recurrent"}) {
    // As large as the published experiment, where libtorch would use several threads.
    const std::vector<std::string> settings = {"unit.name=" + unit,   "train.batch_size=128",
                                               "task.training=1000",  "task.validation=1100",
                                               "unit.hidden_size=20", "train.epochs=2"};
    torch::set_num_threads(1);
    run(unit + "1", settings);
    for (const int n : {2, 3}) {
      torch::set_num_threads(n);
      run(unit + std::to_string(n), settings);
      expect_same_bits(unit + "1", unit + std::to_string(n));
    }
  }
  torch::set_num_threads(threads);
}

TEST_F(RunTest, StopsEarlyWhenAsked) {
  run("patience", {"train.patience=2", "train.learning_rate=0", "train.epochs=50"});
  EXPECT_EQ(metrics("patience").size(), 3u);  // no epoch is better than the first
  run("target", {"train.target_accuracy=0", "train.epochs=50"});
  EXPECT_EQ(metrics("target").size(), 1u);
  EXPECT_FALSE(run("target", {"train.target_accuracy=0", "train.epochs=99"}, /*resume=*/true));
}

TEST_F(RunTest, ADivergingRunNamesTheLastGoodCheckpoint) {
  const auto error_of = [&](const std::string& out, const std::vector<std::string>& settings) {
    try {
      run(out, settings, /*resume=*/true);
    } catch (const base::UserError&) {
      ADD_FAILURE() << "this is not the user's mistake";
    } catch (const base::Error& error) {
      return std::string(error.what());
    }
    ADD_FAILURE() << "no Error";
    return std::string();
  };
  EXPECT_THAT(error_of("at_once", {"train.learning_rate=1e38"}),
              testing::AllOf(HasSubstr("epoch 1"), HasSubstr("no checkpoint yet")));
  EXPECT_THAT(base::testing::error_of([&] { evaluate_run(folder_ / "at_once", {}); }),
              testing::AllOf(HasSubstr("epoch 1"), HasSubstr("the run has diverged")));

  interrupt("later", 3, 1);
  const RunFolder folder(folder_ / "later");
  // With such weights in the last checkpoint, the loss of the next batch is not finite: no target
  // is class 0, and the others are less probable than a float can say.
  auto content = base::read_safetensors(folder.last());
  for (auto& tensor : content.tensors) {
    if (tensor.name != "head.bias") continue;
    for (size_t k = 0; k < tensor.bytes.size(); k += 4) {
      tensor.bytes.replace(k, 4, k == 0 ? "\xe6\xb1\x61\x7f" : "\xe6\xb1\x61\xff");  // +-3e38
    }
  }
  base::write_safetensors(folder.last(), content);
  const std::string before = base::read_file(folder.last());
  EXPECT_THAT(error_of("later", {}), testing::AllOf(HasSubstr("epoch 3, batch 1 (step 19)"),
                                                    HasSubstr("last.safetensors (epoch 2)")));
  EXPECT_EQ(base::read_file(folder.last()), before);
  EXPECT_THAT(base::read_file(folder.diverged()), HasSubstr("epoch 3, batch 1 (step 19)"));
}

TEST_F(RunTest, WeightsThatAreNotFiniteAreNeitherEvaluatedNorResumed) {
  interrupt("run", 3, 1);
  const RunFolder folder(folder_ / "run");
  for (const char* value : {"\xff\xff\xc0\x7f", "\x01\x01\x80\xff"}) {  // two NaN
    for (const auto& path : {folder.last(), folder.best()}) {
      auto content = base::read_safetensors(path);
      for (auto& tensor : content.tensors) {
        if (tensor.name == "head.bias") tensor.bytes.replace(4, 4, value);
      }
      base::write_safetensors(path, content);
    }
    const auto refuses = testing::AllOf(HasSubstr("head.bias has NaN or infinite values"),
                                        HasSubstr("the run has diverged"));
    EXPECT_THAT(error_of([&] { evaluate_run(folder.path(), {}, Trace::none, {}); }), refuses);
    EXPECT_THAT(error_of([&] { run("run", {}, /*resume=*/true); }), refuses);
  }
}

TEST_F(RunTest, ParametersThatAreNotFiniteReachNoCheckpoint) {
  // Adam's first step is as large as the learning rate, with whatever gradient.
  EXPECT_THROW(run("run", {"train.learning_rate=3e38", "train.batch_size=300"}, false),
               base::Error);
  const RunFolder folder(folder_ / "run");
  EXPECT_FALSE(std::filesystem::exists(folder.last()));
  EXPECT_FALSE(std::filesystem::exists(folder.best()));
  EXPECT_FALSE(std::filesystem::exists(folder.summary()));
  EXPECT_THAT(base::read_file(folder.diverged()), HasSubstr("epoch 1"));
}

TEST_F(RunTest, OtherFoldersAreLeftAlone) {
  run("run", {"train.epochs=1"});
  EXPECT_THAT(base::testing::error_of([&] { run("run"); }), HasSubstr("--resume"));
  EXPECT_THAT(base::testing::error_of([&] { run("run", {"unit.hidden_size=6"}, true); }),
              HasSubstr("unit.hidden_size is 5 there and 6 here"));
  std::filesystem::create_directories(folder_ / "home");
  std::ofstream(folder_ / "home" / "letter.txt") << "dear";
  EXPECT_THAT(base::testing::error_of([&] { run("home", {}, true); }),
              HasSubstr("not a run folder"));
  std::ofstream(folder_ / "file") << "dear";
  EXPECT_THAT(base::testing::error_of([&] { run("file"); }), HasSubstr("not a folder"));
  std::filesystem::create_directories(folder_ / "empty");
  EXPECT_TRUE(run("empty", {"train.epochs=1"}));
}

TEST_F(RunTest, TwoProcessesDoNotWorkOnOneRun) {
  run("run", {"train.epochs=1"});
  const std::string before = base::read_file(RunFolder(folder_ / "run").summary());
  {
    const base::FileLock other = RunFolder(folder_ / "run").lock();
    EXPECT_THAT(base::testing::error_of([&] { run("run", {}, /*resume=*/true); }),
                testing::AllOf(HasSubstr("another process"), HasSubstr("--out")));
    EXPECT_EQ(base::read_file(RunFolder(folder_ / "run").summary()), before);
  }
  EXPECT_TRUE(run("run", {}, /*resume=*/true)) << "the lock has been released";
  const base::FileLock before_anything_else = RunFolder(folder_ / "new").lock();
  EXPECT_THAT(base::testing::error_of([&] { run("new", {}, /*resume=*/true); }),
              HasSubstr("another process"));
}

TEST_F(RunTest, BadInputLeavesNoFolder) {
  EXPECT_THAT(base::testing::error_of([&] { run("run", {"train.batch_size=301"}); }),
              HasSubstr("301"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(RunTest, EvaluationRejectsWhatIsNotARun) {
  EXPECT_THAT(base::testing::error_of([&] { evaluate_run(folder_ / "absent", {}); }),
              HasSubstr("not a run folder"));
  interrupt("begun", 1, 1);
  EXPECT_THAT(base::testing::error_of([&] { evaluate_run(folder_ / "begun", {}); }),
              HasSubstr("no checkpoint yet"));
  run("run", {"train.epochs=1"});
  EXPECT_THAT(base::testing::error_of([&] { evaluate_run(folder_ / "run", 131); }),
              HasSubstr("130"));
  EXPECT_EQ(evaluate_run(folder_ / "run", 7).count, 7);
}

}  // namespace
}  // namespace stpn::train::run_test
