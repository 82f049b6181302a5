#include "stpn/train/policy_experiment.h"

#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "stpn/train/test_support.h"

namespace stpn::train::policy_experiment_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kOracle = R"([task]
name = "maze"
size = 7
steps = 50

[policy]
name = "oracle"
)";

class PolicyExperimentTest : public TrainTest {
 protected:
  PolicyExperiment read(const std::string& text, const std::vector<std::string>& settings = {}) {
    return read_policy_experiment(write("who.toml", text), settings);
  }
  std::string error_with(const std::vector<std::string>& settings) {
    return error_of([&] { read(kOracle, settings); });
  }
};

TEST_F(PolicyExperimentTest, SettingsOverrideTheFile) {
  EXPECT_EQ(read(kOracle).policy, "oracle");
  EXPECT_EQ(read(kOracle).seed, 1);
  const PolicyExperiment changed =
      read(kOracle, {"policy.name=random", "policy.seed=4", "task.steps=3"});
  EXPECT_EQ(changed.policy, "random");
  EXPECT_EQ(changed.seed, 4);
  EXPECT_EQ(changed.task_name, "maze");
  EXPECT_EQ(evaluate_policy(changed, 5).episode_length.mean, 3);
}

TEST_F(PolicyExperimentTest, RefusesUnknownAndImpossibleOptions) {
  EXPECT_THAT(error_with({"policy.name=orakle"}), AllOf(HasSubstr("orakle"), HasSubstr("oracle")));
  EXPECT_THAT(error_with({"policy.sed=1"}), HasSubstr("did you mean seed?"));
  EXPECT_THAT(error_with({"policy.seed=-1"}), HasSubstr("-1"));
  EXPECT_THAT(error_with({"task.size=3"}), HasSubstr("size"));
  EXPECT_THAT(error_with({"task.name=maize"}), HasSubstr("did you mean maze?"));
  EXPECT_THAT(error_with({"task.name=associative_retrieval"}), HasSubstr("is a supervised task"));
  EXPECT_THAT(error_of([&] { read("[task]\nname = \"maze\"\n"); }), HasSubstr("[policy] name"));
  EXPECT_THAT(error_of([&] { read("[policy]\nname = \"oracle\"\n"); }), HasSubstr("[task] name"));
  EXPECT_THAT(error_of([&] { read(std::string(kOracle) + "[train]\nseed = 1\n"); }),
              AllOf(HasSubstr("who.toml"), HasSubstr("stpn train")));
  const PolicyExperiment even = read(kOracle, {"task.size=8"});
  EXPECT_THAT(error_of([&] { evaluate_policy(even, 1); }), HasSubstr("size = 8"));
}

TEST_F(PolicyExperimentTest, CannotBeTrained) {
  const auto path = write("who.toml", kOracle);
  EXPECT_THAT(error_of([&] { read_experiment(path); }),
              AllOf(HasSubstr("who.toml"), HasSubstr("stpn eval")));
}

TEST_F(PolicyExperimentTest, PlaysTheRequestedEpisodesOrThoseOfTheTest) {
  const PolicyExperiment experiment = read(kOracle, {"task.test=700"});
  EXPECT_EQ(evaluate_policy(experiment, {}).episodes, 700);
  const PolicyEvaluation some = evaluate_policy(experiment, 513);
  EXPECT_EQ(some.episodes, 513);
  EXPECT_GT(some.reward.mean, 50);
  EXPECT_EQ(evaluate_policy(experiment, 513).reward.mean, some.reward.mean);
  for (const int64_t count : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    error_of([&] { evaluate_policy(experiment, count); });
  }
}

TEST_F(PolicyExperimentTest, TraceIsOfTheFirstEpisode) {
  const auto one = evaluate_policy(read(kOracle), 1, /*trace=*/true);
  const auto trace = nlohmann::json::parse(one.trace);
  EXPECT_EQ(trace.at("episode"), 0);
  EXPECT_EQ(trace.at("actions").size(), 50);
  double reward = 0;
  for (const double step : trace.at("rewards")) reward += step;
  EXPECT_EQ(reward, one.reward.mean);
  EXPECT_EQ(evaluate_policy(read(kOracle), 600, /*trace=*/true).trace, one.trace);
}

}  // namespace
}  // namespace stpn::train::policy_experiment_test
