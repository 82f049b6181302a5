#include "stpn/tasks/policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks::policy_test {
namespace {

// Episode n has n % 3 + 1 steps; the reward of a step is the action. An observation is the number
// of the episode and that of the steps done.
class Counting : public Environment {
 public:
  explicit Counting(int64_t batch) : episode_(batch), steps_(batch) {}
  int64_t batch() const override { return static_cast<int64_t>(episode_.size()); }
  int64_t observation_size() const override { return 2; }
  int64_t actions() const override { return 5; }
  int64_t episode_length() const override { return 3; }
  int64_t test_episodes() const override { return 1; }
  std::vector<int64_t> reward_inputs() const override { return {}; }
  void start(int64_t b, Split /*split*/, int64_t episode, float* observation) override {
    episode_[b] = episode;
    steps_[b] = 0;
    observe(b, observation);
  }
  void step(const int64_t* action, float* observation, float* reward, bool* ended) override {
    for (int64_t b = 0; b < batch(); ++b) {
      reward[b] = static_cast<float>(action[b]);
      ended[b] = ++steps_[b] == episode_[b] % 3 + 1;
      observe(b, observation + 2 * b);
    }
  }
  void best_actions(int64_t* /*action*/) override { throw base::UserError("not known"); }
  std::string save() const override { return ""; }
  void restore(std::string_view /*saved*/) override {}
  std::string trace(Split, int64_t, const std::vector<int64_t>&) const override { return "{}"; }

 private:
  void observe(int64_t b, float* observation) const {
    observation[0] = static_cast<float>(episode_[b]);
    observation[1] = static_cast<float>(steps_[b]);
  }
  std::vector<int64_t> episode_, steps_;
};

// Takes action 1 + (episode % 2). Fails unless `start` was called for an episode before its first
// step.
class Attentive : public Policy {
 public:
  explicit Attentive(int64_t batch) : episode_(batch, -1) {}
  void start(int64_t b, int64_t episode) override { episode_[b] = episode; }
  void act(const float* observation, int64_t* action) override {
    for (size_t b = 0; b < episode_.size(); ++b) {
      EXPECT_EQ(observation[2 * b], static_cast<float>(episode_[b]));
      action[b] = 1 + episode_[b] % 2;
    }
  }

 private:
  std::vector<int64_t> episode_;
};

TEST(Play, CountsEachEpisodeOnceWhateverItsLength) {
  for (const int64_t batch : {1, 2, 3, 4, 7, 40}) {
    Counting environment(batch);
    Attentive policy(batch);
    const Episodes played = play(environment, policy, Split::test, 10);
    ASSERT_EQ(played.rewards.size(), 10);
    for (int64_t n = 0; n < 10; ++n) {
      EXPECT_EQ(played.lengths[n], n % 3 + 1);
      EXPECT_EQ(played.rewards[n], (n % 3 + 1) * (1 + n % 2));
    }
    EXPECT_EQ(played.first_actions, (std::vector<int64_t>{1}));
  }
}

TEST(RandomPolicy, TakesAllActionsAlikeAndDependsOnSeedAndEpisodeOnly) {
  const auto actions_of = [](int64_t batch, uint64_t seed) {
    Counting environment(batch);
    const auto policy = make_untrained_policy("random", environment, seed);
    return play(environment, *policy, Split::test, 3000).rewards;
  };
  const std::vector<double> rewards = actions_of(1, 1);
  EXPECT_EQ(actions_of(7, 1), rewards);
  EXPECT_NE(actions_of(1, 2), rewards);
  std::vector<double> counts(5);
  for (size_t n = 0; n < rewards.size(); n += 3) counts[static_cast<size_t>(rewards[n])] += 1;
  for (const double count : counts) EXPECT_NEAR(count, 200, 5 * std::sqrt(200));
}

TEST(Oracle, SaysWhereThereIsNone) {
  Counting environment(1);
  const auto policy = make_untrained_policy("oracle", environment, 1);
  base::testing::error_of([&] { play(environment, *policy, Split::test, 1); });
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
    EXPECT_EQ(options->make(1, 2)->batch(), 2);
  }
}

TEST(EnvironmentRegistry, SaysWhichTasksAreOfTheOtherKind) {
  using base::testing::error_of;
  EXPECT_EQ(error_of([] { find_environment("associative_retrieval", "x.toml:2"); }),
            "x.toml:2: [task] name = \"associative_retrieval\": is a supervised task; here it "
            "must be one of maze");
  EXPECT_EQ(error_of([] { find_sequence_task("maze", "x.toml:2"); }),
            "x.toml:2: [task] name = \"maze\": is a reinforcement-learning task; here it must be "
            "one of associative_retrieval");
  EXPECT_EQ(error_of([] { find_environment("mace", "x.toml:2"); }),
            "x.toml:2: [task] name = \"mace\": there is no such task (did you mean maze?)");
}

}  // namespace
}  // namespace stpn::tasks::policy_test
