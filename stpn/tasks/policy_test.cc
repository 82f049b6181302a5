#include "stpn/tasks/policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks::policy_test {
namespace {

// Episode n has n % 3 + 1 steps; the reward of a step is the action. An observation is the number
// of the episode and that of the steps done.
class Counting : public EnvironmentTask {
 public:
  explicit Counting(ActionSpec actions = ActionSpec::one_of(5)) : actions_(std::move(actions)) {}
  int64_t observation_size() const override { return 2; }
  const ActionSpec& actions() const override { return actions_; }
  int64_t max_steps() const override { return 3; }
  int64_t test_episodes() const override { return 1; }
  std::unique_ptr<Environment> make_environment() const override {
    return std::make_unique<One>(actions_.is_box());
  }

 private:
  class One : public Environment {
   public:
    explicit One(bool box) : box_(box) {}
    void start(Split /*split*/, int64_t episode, float* observation) override {
      episode_ = episode;
      steps_ = 0;
      observe(observation);
    }
    Step step(const Action& action, float* observation) override {
      ++steps_;
      observe(observation);
      return {.reward = box_ ? action.numbers[1] : static_cast<float>(action.choice),
              .truncated = steps_ == episode_ % 3 + 1};
    }
    std::string save() const override { return ""; }
    void restore(std::string_view /*saved*/) override {}

   private:
    void observe(float* observation) const {
      observation[0] = static_cast<float>(episode_);
      observation[1] = static_cast<float>(steps_);
    }
    bool box_;
    int64_t episode_ = 0, steps_ = 0;
  };
  ActionSpec actions_;
};

// Takes action 1 + (episode % 2). Fails unless `start` was called for an episode before its first
// step.
class Attentive : public Policy {
 public:
  void start(int64_t episode) override { episode_ = episode; }
  Action act(const float* observation) override {
    EXPECT_EQ(observation[0], static_cast<float>(episode_));
    return {.choice = 1 + episode_ % 2};
  }

 private:
  int64_t episode_ = -1;
};

TEST(Play, CountsEachEpisodeOnceWhateverItsLength) {
  const Counting task;
  Attentive policy;
  const Episodes played = play(task, *task.make_environment(), policy, Split::test, 10);
  ASSERT_EQ(played.rewards.size(), 10);
  for (int64_t n = 0; n < 10; ++n) {
    EXPECT_EQ(played.lengths[n], n % 3 + 1);
    EXPECT_EQ(played.rewards[n], (n % 3 + 1) * (1 + n % 2));
  }
  EXPECT_EQ(played.first_actions, (std::vector<float>{1}));
}

TEST(RandomPolicy, TakesAllActionsAlikeAndDependsOnSeedAndEpisodeOnly) {
  const auto rewards_of = [](uint64_t seed, int64_t count) {
    return play_untrained(Counting(), "random", seed, Split::test, count).rewards;
  };
  const std::vector<double> rewards = rewards_of(1, 3000);
  EXPECT_EQ(rewards_of(1, 3000), rewards);
  EXPECT_NE(rewards_of(2, 3000), rewards);
  std::vector<double> counts(5);
  for (size_t n = 0; n < rewards.size(); n += 3) counts[static_cast<size_t>(rewards[n])] += 1;
  for (const double count : counts) EXPECT_NEAR(count, 200, 5 * std::sqrt(200));
}

TEST(RandomPolicy, IsUniformInABox) {
  const Counting task(ActionSpec::box({0, -3}, {1, 5}));
  const Episodes played = play_untrained(task, "random", 1, Split::test, 3000);
  std::vector<double> counts(4);
  for (size_t n = 0; n < played.rewards.size(); n += 3) {
    ASSERT_GE(played.rewards[n], -3);
    ASSERT_LT(played.rewards[n], 5);
    counts[static_cast<size_t>((played.rewards[n] + 3) / 2)] += 1;
  }
  for (const double count : counts) EXPECT_NEAR(count, 250, 5 * std::sqrt(250));
  EXPECT_EQ(played.first_actions.size(), 2);
  EXPECT_EQ(played.first_actions[1], played.rewards[0]);
}

TEST(Oracle, SaysWhereThereIsNone) {
  base::testing::error_of([&] { play_untrained(Counting(), "oracle", 1, Split::test, 1); });
}

TEST(SpreadOf, IsMeanStandardDeviationAndStandardError) {
  const Spread spread = spread_of({1, 2, 3, 6});
  EXPECT_DOUBLE_EQ(spread.mean, 3);
  EXPECT_DOUBLE_EQ(spread.standard_deviation, std::sqrt(14.0 / 3));
  EXPECT_DOUBLE_EQ(spread.standard_error, std::sqrt(14.0 / 3) / 2);
  EXPECT_EQ(spread_of({7}).mean, 7);
  EXPECT_TRUE(std::isnan(spread_of({7}).standard_error));
}

TEST(EnvironmentRegistry, FindsEnvironmentsByNameAndMakesThem) {
  for (const EnvironmentEntry& entry : environment_registry()) {
    EXPECT_EQ(&find_environment(entry.name, "here"), &entry);
    EXPECT_FALSE(entry.summary.empty());
    EXPECT_EQ(entry.summary.find('\n'), std::string::npos);
    const auto options = entry.options();
    for (const base::Field& field : options->fields()) EXPECT_FALSE(field.help.empty());
    try {
      EXPECT_NE(options->make(1)->make_environment(), nullptr);
    } catch (const base::UserError& error) {  // of a task on MuJoCo, in a build without
      const std::string message = error.what();
      EXPECT_NE(message.find("this build has no MuJoCo"), std::string::npos) << message;
    }
  }
}

TEST(EnvironmentRegistry, SaysWhichTasksAreOfTheOtherKind) {
  using base::testing::error_of;
  EXPECT_EQ(error_of([] { find_environment("associative_retrieval", "x.toml:2"); }),
            "x.toml:2: [task] name = \"associative_retrieval\": is a supervised task; here it "
            "must be one of maze, hold, inverted_pendulum, hopper, pong, atari");
  EXPECT_EQ(error_of([] { find_sequence_task("maze", "x.toml:2"); }),
            "x.toml:2: [task] name = \"maze\": is a reinforcement-learning task; here it must be "
            "one of associative_retrieval, delayed_copy, familiarity, recall, tracking, joint");
  EXPECT_EQ(error_of([] { find_environment("mace", "x.toml:2"); }),
            "x.toml:2: [task] name = \"mace\": there is no such task (did you mean maze?)");
}

}  // namespace
}  // namespace stpn::tasks::policy_test
