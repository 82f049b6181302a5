#include "stpn/ops/runtime/kernel_device.h"
#include "stpn/tasks/atari/emulator.h"
#include "stpn/train/run/run_test_support.h"

namespace stpn::train::agent_run_test {
namespace {

class AgentRunTest : public RunTest {};

constexpr const char* kMaze = R"(
[task]
name = "maze"
size = 5
steps = 10
test = 70
[unit]
name = "stpn_recurrent"
hidden_size = 6
norm = "post"
clamp = 1.0
[train]
algorithm = "actor_critic"
iterations = 6
episodes = 130
warm_up = 1
report_every = 2
)";

TEST_F(AgentRunTest, ResumesAndRunsOnThreadsInTheSameBitsToo) {
  const std::vector<std::vector<std::string>> variants = {
      {},
      {"train.rollout_length=7"},
      {"train.rollout_length=7", "train.sequence_length=3", "train.policy_l2_weight=0",
       "train.entropy_weight=0.01", "train.loss=sum", "train.decay_steps=5000"},
      {"unit.name=\"lstm\""},
      {"unit.name=\"fast_weights\""},
  };
  for (size_t i = 0; i < variants.size(); ++i) {
    std::string text = kMaze;
    if (i >= 3)
      text.erase(text.find("norm = "), std::string("norm = \"post\"\nclamp = 1.0\n").size());
    const Experiment maze = read_experiment(write("maze.toml", text), variants[i]);
    const std::string name = fmt::format("whole{}", i);
    ASSERT_NO_FATAL_FAILURE(expect_same_bits_when_broken(maze, name));
  }
}

TEST_F(AgentRunTest, SequencesThatRunAgainToBeLearntFromGiveTheSameBits) {
  const Experiment maze = read_experiment(write("maze.toml", kMaze));
  Observer silent;
  run_experiment(maze, folder_ / "whole", false, silent);
  const ops::KernelDeviceGuard guard(torch::kCPU);  // as on a GPU: acts first, then runs again
  run_experiment(maze, folder_ / "again", false, silent);
  expect_same_last("whole", "again");
}

constexpr const char* kHold = R"(
[task]
name = "hold"
test = 10

[unit]
name = "stpn_feedforward"
hidden_size = 6

[train]
algorithm = "ppo"
steps = 13000
environments = 70
rollout_length = 23
minibatch_steps = 3000
passes = 2
report_every = 2
kl_target = 1e-6
)";

TEST_F(AgentRunTest, PpoResumesAndRunsOnThreadsInTheSameBitsToo) {
  const std::vector<std::vector<std::string>> variants = {
      {}, {"train.states=recomputed", "train.time_limit=truncation", "train.environments=3"}};
  for (size_t i = 0; i < variants.size(); ++i) {
    const Experiment hold = read_experiment(write("hold.toml", kHold), variants[i]);
    const std::string name = fmt::format("ppo{}", i);
    ASSERT_NO_FATAL_FAILURE(expect_same_bits_when_broken(hold, name));
    EXPECT_NE(metrics(name).back()["kl_weight"], 0.2);
  }
}

constexpr const char* kPong = R"(
[task]
name = "pong"
max_frames = 130
repeat_action_probability = 0.25
test = 2

[unit]
name = "stpn_recurrent"
hidden_size = 4
norm = "pre"

[train]
)";

constexpr const char* kPongPpo = R"(algorithm = "ppo"
steps = 600
environments = 6
rollout_length = 20
sequence_length = 8
minibatch_steps = 50
passes = 2
report_every = 2
time_limit = "truncation"
)";

constexpr const char* kPongActorCritic = R"(algorithm = "actor_critic"
iterations = 6
episodes = 6
rollout_length = 20
sequence_length = 8
warm_up = 0
report_every = 2
loss = "sum"
policy_l2_weight = 0
entropy_weight = 0.01
)";

// Emulators, images and the encoder included.
TEST_F(AgentRunTest, PongResumesAndRunsOnThreadsInTheSameBitsToo) {
  if (tasks::emulator_version().empty()) GTEST_SKIP() << "this build has no ALE";
  for (const char* algorithm : {kPongPpo, kPongActorCritic}) {
    const Experiment pong = read_experiment(write("pong.toml", std::string(kPong) + algorithm));
    ASSERT_NO_FATAL_FAILURE(expect_same_bits_when_broken(pong, pong.algorithm));
    EXPECT_GE(metrics(pong.algorithm).back()["episodes"], 6);
  }
}

TEST_F(AgentRunTest, PpoThatIsGivenMoreStepsEndsInTheBitsOfALongerRun) {
  Observer silent;
  const auto hold = [&](const char* steps) {
    return read_experiment(write("hold.toml", kHold),
                           {"train.environments=2", "train.rollout_length=10", steps});
  };
  // Three iterations, two in the first epoch and one in the second, in which no episode need end.
  ASSERT_TRUE(run_experiment(hold("train.steps=60"), folder_ / "more", false, silent));
  ASSERT_TRUE(run_experiment(hold("train.steps=140"), folder_ / "more", true, silent));
  ASSERT_TRUE(run_experiment(hold("train.steps=140"), folder_ / "longer", false, silent));
  const auto more = base::read_safetensors(RunFolder(folder_ / "more").last());
  const auto longer = base::read_safetensors(RunFolder(folder_ / "longer").last());
  ASSERT_EQ(more.tensors.size(), longer.tensors.size());
  for (const auto& tensor : more.tensors) {
    if (tensor.name == "rewards") continue;  // has a mean over the last epoch
    EXPECT_TRUE(tensor.bytes == longer.at(tensor.name).bytes) << tensor.name;
  }
  EXPECT_EQ(metrics("more").back()["environment_steps"], 140);
}

TEST_F(AgentRunTest, ACheckpointWithFewerEnvironmentsIsRefused) {
  const Experiment maze = read_experiment(write("maze.toml", kMaze), {"train.rollout_length=5"});
  Observer silent;
  ASSERT_TRUE(run_experiment(maze, folder_ / "run", false, silent));
  auto content = base::read_safetensors(RunFolder(folder_ / "run").last());
  std::erase_if(content.tensors, [](const auto& t) { return t.name == "rollout64.environments"; });
  base::write_safetensors(RunFolder(folder_ / "run").last(), content);
  const Experiment longer =
      read_experiment(folder_ / "maze.toml", {"train.rollout_length=5", "train.iterations=8"});
  EXPECT_THAT(
      base::testing::error_of([&] { run_experiment(longer, folder_ / "run", true, silent); }),
      HasSubstr("rollout64.environments"));
}

TEST_F(AgentRunTest, ARunOfAnOlderVersionWithARenamedOptionIsRefused) {
  const std::vector<std::pair<std::string, std::string>> renamed = {
      {"max_grad_norm", "largest_gradient"},
      {"policy_l2_weight", "concentration_weight"},
      {"rollout_length", "fragment"}};
  const auto older = [&](std::string text, const std::string& key, const std::string& old_key) {
    return text.replace(text.find(key), key.size(), old_key);
  };
  const Experiment maze = read_experiment(write("maze.toml", kMaze));
  const Experiment longer = read_experiment(folder_ / "maze.toml", {"train.iterations=8"});
  const RunFolder folder(folder_ / "run");
  Observer silent;
  ASSERT_TRUE(run_experiment(maze, folder.path(), false, silent));
  const std::string config = base::read_file(folder.config());
  const std::string checkpoint = base::read_file(folder.last());
  for (const auto& [key, old_key] : renamed) {
    const auto expect_refused = [&](const std::string& file) {
      const auto names_both =
          testing::AllOf(HasSubstr(file + ":"), HasSubstr(old_key + " = "),
                         HasSubstr(fmt::format("this key is now called {}", key)));
      EXPECT_THAT(base::testing::error_of([&] { evaluate_run(folder.path(), {}); }), names_both);
      EXPECT_THAT(
          base::testing::error_of([&] { run_experiment(longer, folder.path(), true, silent); }),
          names_both);
    };
    base::write_file(folder.config(), older(config, key, old_key));
    expect_refused("config.toml");
    base::write_file(folder.config(), config);
    auto content = base::read_safetensors(folder.last());
    content.metadata["stpn"] = older(content.metadata["stpn"], key, old_key);
    base::write_safetensors(folder.last(), content);
    expect_refused("last.safetensors");
    base::write_file(folder.last(), checkpoint);
  }
}

TEST_F(AgentRunTest, KeepsTheLastWeights) {
  const Experiment maze = read_experiment(write("maze.toml", kMaze));
  Observer silent;
  ASSERT_TRUE(run_experiment(maze, folder_ / "whole", false, silent));
  EXPECT_FALSE(std::filesystem::exists(RunFolder(folder_ / "whole").best()));

  const auto json = nlohmann::json::parse(base::read_file(folder_ / "whole" / "summary.json"));
  const RunEvaluation evaluation = evaluate_run(folder_ / "whole", {}, Trace::as_tested);
  EXPECT_EQ(evaluation.items, "episodes");
  EXPECT_EQ(evaluation.count, 70);
  EXPECT_EQ(value_of(evaluation.metrics, "reward"), json["metrics"]["reward"].get<double>());
  EXPECT_TRUE(nlohmann::json::parse(evaluation.trace).is_object());
  EXPECT_EQ(json["steps"], 5);
}

}  // namespace
}  // namespace stpn::train::agent_run_test
