// The tests that every EnvironmentTask has to pass, as one call.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/environment.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks::contract {

// What an episode showed, step by step.
struct Trace {
  std::vector<float> observations;  // (steps + 1, I)
  std::vector<float> rewards;       // (steps)
  std::vector<bool> terminated, truncated;
  bool operator==(const Trace&) const = default;
  bool ended() const { return !rewards.empty() && (terminated.back() || truncated.back()); }
};

// Plays without a policy: an action depends on the number of the episode and the step alone. Before
// each call the observation is filled with NaN, as is a margin after it, which must not change.
class Player {
 public:
  explicit Player(const EnvironmentTask& task)
      : task_(task), environment_(task.make_environment()) {}

  void start(Split split, int64_t episode) {
    episode_ = episode;
    trace_ = {};
    std::vector<float> observation = unwritten();
    environment_->start(split, episode, observation.data());
    append(observation);
  }

  // At most so many steps, or until the episode ends.
  void play(int64_t steps, bool look = true) {
    for (int64_t t = 0; t < steps && !trace_.ended(); ++t) {
      const std::vector<float> numbers = action_of(static_cast<int64_t>(trace_.rewards.size()));
      std::vector<float> observation = unwritten();
      const Step step = environment_->step(task_.actions().is_box()
                                               ? Action{.numbers = numbers.data()}
                                               : Action{.choice = static_cast<int64_t>(numbers[0])},
                                           look ? observation.data() : nullptr);
      ASSERT_TRUE(std::isfinite(step.reward));
      trace_.rewards.push_back(step.reward);
      trace_.terminated.push_back(step.terminated);
      trace_.truncated.push_back(step.truncated);
      ASSERT_LE(static_cast<int64_t>(trace_.rewards.size()), task_.max_steps());
      if (look) append(observation);
    }
  }

  const Trace& whole(Split split, int64_t episode, bool look = true) {
    start(split, episode);
    play(task_.max_steps(), look);
    EXPECT_TRUE(trace_.ended()) << "the episode does not end";
    if (task_.fixed_length()) {
      EXPECT_EQ(static_cast<int64_t>(trace_.rewards.size()), task_.max_steps());
    }
    return trace_;
  }

  const Trace& trace() const { return trace_; }
  Environment& environment() { return *environment_; }

  // The numbers of the action of a step: one choice, or those of a box.
  std::vector<float> action_of(int64_t step) const {
    base::Random random(99, base::Stream::actions, static_cast<uint64_t>(episode_ << 20 | step));
    const ActionSpec& actions = task_.actions();
    if (!actions.is_box()) {
      return {static_cast<float>(random.below(static_cast<uint32_t>(actions.choices)))};
    }
    std::vector<float> numbers;
    for (size_t k = 0; k < actions.low.size(); ++k) {
      numbers.push_back(static_cast<float>(random.uniform(actions.low[k], actions.high[k])));
    }
    return numbers;
  }

 private:
  static constexpr int64_t kMargin = 8;

  std::vector<float> unwritten() const {
    return std::vector<float>(static_cast<size_t>(task_.observation_size() + kMargin),
                              std::numeric_limits<float>::quiet_NaN());
  }
  void append(const std::vector<float>& observation) {
    const auto size = static_cast<size_t>(task_.observation_size());
    for (size_t i = 0; i < observation.size(); ++i) {
      if (i < size) {
        ASSERT_TRUE(std::isfinite(observation[i])) << "left unwritten";
        trace_.observations.push_back(observation[i]);
      } else {
        ASSERT_TRUE(std::isnan(observation[i])) << "wrote past the end";
      }
    }
  }

  const EnvironmentTask& task_;
  std::unique_ptr<Environment> environment_;
  int64_t episode_ = 0;
  Trace trace_;
};

inline std::vector<Trace> play_all(const EnvironmentTask& task, Split split, int64_t count) {
  Player player(task);
  std::vector<Trace> traces;
  for (int64_t episode = 0; episode < count; ++episode) {
    traces.push_back(player.whole(split, episode));
  }
  return traces;
}

// Two environments of a task that take turns, and one that is started again in mid-episode.
inline void expect_environments_keep_apart(const EnvironmentTask& task,
                                           const std::vector<Trace>& all) {
  Player one(task), other(task);
  one.start(Split::training, 2);
  one.play(1);
  one.start(Split::training, 0);
  other.start(Split::training, 1);
  for (int64_t t = 0; t < task.max_steps(); ++t) {
    one.play(1);
    other.play(1);
  }
  EXPECT_EQ(one.trace(), all[0]);
  EXPECT_EQ(other.trace(), all[1]);
}

inline void expect_goes_on_where_it_was_saved(const EnvironmentTask& task,
                                              const std::vector<Trace>& all) {
  Player player(task);
  for (int64_t episode = 0; episode < 3; ++episode) {
    player.start(Split::training, episode);
    player.play(static_cast<int64_t>(all[episode].rewards.size()) / 2);
    const std::string saved = player.environment().save();
    player.play(task.max_steps());
    EXPECT_EQ(player.trace(), all[episode]);

    Player fresh(task);
    fresh.start(Split::training, episode);  // so that it knows the actions
    fresh.play(static_cast<int64_t>(all[episode].rewards.size()) / 2);
    fresh.environment().start(Split::test, 7, std::vector<float>(task.observation_size()).data());
    fresh.environment().restore(saved);
    EXPECT_EQ(fresh.environment().save(), saved);
    fresh.play(task.max_steps());
    EXPECT_EQ(fresh.trace(), all[episode]);
  }
}

inline void expect_refuses_damaged_states(const EnvironmentTask& task) {
  Player player(task);
  player.start(Split::training, 0);
  player.play(1);
  Environment& environment = player.environment();
  const std::string saved = environment.save();
  player.play(1);
  const std::string now = environment.save();
  for (const std::string& bad : {std::string(), saved.substr(1), saved.substr(0, saved.size() - 1),
                                 saved + '\0', std::string(saved.size(), '\xff')}) {
    base::testing::error_of([&] { environment.restore(bad); });
    EXPECT_EQ(environment.save(), now);
  }
  // A damaged byte gives an error or another possible state.
  for (size_t i = 0; i < saved.size(); ++i) {
    std::string damaged = saved;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x80);
    try {
      environment.restore(damaged);
    } catch (const base::UserError&) {
      continue;
    }
    EXPECT_EQ(environment.save(), damaged);
  }
}

// `options` should make episodes that are short, yet so long that no two are likely to be equal.
inline void expect_environment_contract(const EnvironmentOptions& options) {
  constexpr int64_t kEpisodes = 7;
  const auto task = options.make(1);
  ASSERT_GE(task->observation_size(), 1);
  ASSERT_GE(task->max_steps(), 2);
  ASSERT_GE(task->test_episodes(), 1);
  const ActionSpec& actions = task->actions();
  ASSERT_EQ(actions.low.size(), actions.high.size());
  ASSERT_TRUE(actions.is_box() ? actions.numbers() >= 1 : actions.choices >= 2);
  for (size_t k = 0; k < actions.low.size(); ++k) ASSERT_LT(actions.low[k], actions.high[k]);
  for (const int64_t input : task->reward_inputs()) ASSERT_LT(input, task->observation_size());

  const std::vector<Trace> all = play_all(*task, Split::training, kEpisodes);
  EXPECT_EQ(play_all(*task, Split::training, kEpisodes), all)
      << "the same episodes differ the second time";
  EXPECT_EQ(play_all(*options.make(1), Split::training, kEpisodes), all);
  EXPECT_NE(play_all(*options.make(2), Split::training, kEpisodes), all) << "the seed is not used";
  const auto of_split = [&](Split split) { return play_all(*task, split, kEpisodes); };
  EXPECT_NE(of_split(Split::test), all);
  EXPECT_NE(of_split(Split::validation), all);
  EXPECT_NE(of_split(Split::validation), of_split(Split::test));
  EXPECT_EQ(Player(*task).whole(Split::training, kEpisodes - 1), all.back());
  EXPECT_EQ(Player(*task).whole(Split::training, 1, /*look=*/false).rewards, all[1].rewards);
  expect_environments_keep_apart(*task, all);
  expect_goes_on_where_it_was_saved(*task, all);
  expect_refuses_damaged_states(*task);
}

// For tasks that draw an episode: a trace depends on its arguments alone.
inline void expect_trace_contract(const EnvironmentOptions& options) {
  const auto task = options.make(1);
  Player player(*task);
  player.start(Split::training, 1);
  std::vector<float> actions;
  for (int64_t step = 0; step < 3; ++step) {
    const std::vector<float> numbers = player.action_of(step);
    actions.insert(actions.end(), numbers.begin(), numbers.end());
  }
  const std::string trace = task->trace(Split::training, 1, actions);
  player.play(2);
  const std::string before = player.environment().save();
  EXPECT_EQ(task->trace(Split::training, 1, actions), trace);
  EXPECT_EQ(options.make(1)->trace(Split::training, 1, actions), trace);
  EXPECT_NE(task->trace(Split::test, 1, actions), trace);
  EXPECT_EQ(player.environment().save(), before);
}

}  // namespace stpn::tasks::contract
