// The tests that every Environment has to pass, as one call.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "stpn/base/random.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/environment.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks::contract {

// The observations, rewards and ends of the steps of one environment, in their order.
struct Trace {
  std::vector<float> observations;  // (steps + 1, I)
  std::vector<float> rewards;       // (steps)
  std::vector<bool> ended;          // (steps)
  bool operator==(const Trace&) const = default;
};

// Plays without a policy: an action depends on the number of the episode and the step alone. Before
// each call the buffers are filled with impossible values, as is a margin after them, which must
// not change.
class Player {
 public:
  explicit Player(Environment& environment)
      : environment_(environment),
        B_(environment.batch()),
        I_(environment.observation_size()),
        episode_(B_),
        steps_(B_),
        traces_(B_) {}

  void start(int64_t b, Split split, int64_t episode) {
    std::vector<float> observation = unwritten(I_);
    environment_.start(b, split, episode, observation.data());
    expect_margin(observation, I_);
    episode_[b] = episode;
    steps_[b] = 0;
    traces_[b] = {};
    append(b, observation.data());
  }

  // Plays `steps` more steps. Where an episode ends, its trace is complete, and the environment is
  // started again with the same episode, which is not traced.
  void play(int64_t steps, bool look = true) {
    for (int64_t t = 0; t < steps; ++t) step(look);
  }

  const Trace& trace(int64_t b) const { return traces_[b]; }
  std::vector<int64_t> actions_of(int64_t episode, int64_t steps) const {
    std::vector<int64_t> actions;
    for (int64_t t = 0; t < steps; ++t) actions.push_back(action_of(episode, t));
    return actions;
  }

 private:
  static constexpr int64_t kMargin = 8;
  static constexpr int64_t kMostBatch = 8;

  static std::vector<float> unwritten(int64_t size) {
    return std::vector<float>(static_cast<size_t>(size + kMargin),
                              std::numeric_limits<float>::quiet_NaN());
  }
  static void expect_margin(const std::vector<float>& values, int64_t size) {
    for (auto i = static_cast<size_t>(size); i < values.size(); ++i) {
      ASSERT_TRUE(std::isnan(values[i])) << "wrote past the end";
    }
  }
  int64_t action_of(int64_t episode, int64_t step) const {
    base::Random random(99, base::Stream::actions, static_cast<uint64_t>(episode << 20 | step));
    return random.below(static_cast<uint32_t>(environment_.actions()));
  }
  void append(int64_t b, const float* observation) {
    for (int64_t i = 0; i < I_; ++i) {
      ASSERT_TRUE(std::isfinite(observation[i])) << "left unwritten";
      traces_[b].observations.push_back(observation[i]);
    }
  }

  void step(bool look) {
    std::vector<int64_t> action;
    for (int64_t b = 0; b < B_; ++b) action.push_back(action_of(episode_[b], steps_[b]));
    std::vector<float> observation = unwritten(B_ * I_), reward = unwritten(B_);
    bool ended[kMostBatch + 1];
    std::fill(std::begin(ended), std::end(ended), true);
    environment_.step(action.data(), look ? observation.data() : nullptr, reward.data(), ended);
    expect_margin(observation, look ? B_ * I_ : 0);
    expect_margin(reward, B_);
    ASSERT_TRUE(ended[B_]) << "wrote past the end";
    for (int64_t b = 0; b < B_; ++b) {
      ASSERT_TRUE(std::isfinite(reward[b]));
      ++steps_[b];
      ASSERT_LE(steps_[b], environment_.episode_length());
      const bool whole = !traces_[b].ended.empty() && traces_[b].ended.back();
      if (!whole) {
        if (look) append(b, observation.data() + b * I_);
        traces_[b].rewards.push_back(reward[b]);
        traces_[b].ended.push_back(ended[b]);
      }
      if (ended[b]) {
        environment_.start(b, Split::training, episode_[b], observation.data());
        steps_[b] = 0;
      }
    }
  }

  Environment& environment_;
  int64_t B_, I_;
  std::vector<int64_t> episode_, steps_;
  std::vector<Trace> traces_;
};

// Plays episodes first .. first+batch-1 of a split to their ends.
inline std::vector<Trace> play_all(Environment& environment, Split split, int64_t first = 0) {
  Player player(environment);
  std::vector<Trace> traces;
  for (int64_t b = 0; b < environment.batch(); ++b) player.start(b, split, first + b);
  player.play(environment.episode_length());
  for (int64_t b = 0; b < environment.batch(); ++b) {
    traces.push_back(player.trace(b));
    EXPECT_TRUE(traces.back().ended.back()) << "the episode does not end";
  }
  return traces;
}

inline void expect_index_and_batch_do_not_matter(const EnvironmentOptions& options,
                                                 const std::vector<Trace>& all) {
  const auto count = static_cast<int64_t>(all.size());
  const auto alone = options.make(1, 1);
  EXPECT_EQ(play_all(*alone, Split::training, count - 1)[0], all[count - 1]);

  // In another order; and environment 0 is started again while the others are in mid-episode.
  const auto environment = options.make(1, count);
  Player player(*environment);
  for (int64_t b = 0; b < count; ++b) player.start(b, Split::training, count - 1 - b);
  player.play(1);
  player.start(0, Split::training, 0);
  player.play(environment->episode_length());
  EXPECT_EQ(player.trace(0), all[0]);
  for (int64_t b = 1; b < count; ++b) EXPECT_EQ(player.trace(b), all[count - 1 - b]) << b;
}

inline void expect_goes_on_where_it_was_saved(const EnvironmentOptions& options) {
  const auto environment = options.make(1, 3);
  Player player(*environment);
  const int64_t half = environment->episode_length() / 2;
  for (int64_t b = 0; b < 3; ++b) player.start(b, Split::training, b);
  player.play(half);
  const std::string saved = environment->save();
  const Player before = player;
  player.play(environment->episode_length());  // beyond the end of the episode
  Player again = before;
  const std::vector<Trace> went = {player.trace(0), player.trace(1), player.trace(2)};

  environment->restore(saved);
  EXPECT_EQ(environment->save(), saved);
  again.play(environment->episode_length());
  for (int64_t b = 0; b < 3; ++b) EXPECT_EQ(again.trace(b), went[b]) << b;

  const std::string now = environment->save();
  const auto wider = options.make(1, 4);
  for (const std::string& bad : {std::string(), saved.substr(1), saved.substr(0, saved.size() - 1),
                                 saved + '\0', std::string(saved.size(), '\xff'), wider->save()}) {
    base::testing::error_of([&] { environment->restore(bad); });
    EXPECT_EQ(environment->save(), now);
  }
  // A damaged byte gives an error or another possible state.
  for (size_t i = 0; i < saved.size(); ++i) {
    std::string damaged = saved;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x80);
    try {
      environment->restore(damaged);
    } catch (const base::UserError&) {
      continue;
    }
    EXPECT_EQ(environment->save(), damaged);
  }
}

// `options` should make episodes that are short, yet so long that no two are likely to be equal.
inline void expect_environment_contract(const EnvironmentOptions& options) {
  constexpr int64_t kBatch = 7;
  const auto environment = options.make(1, kBatch);
  ASSERT_EQ(environment->batch(), kBatch);
  ASSERT_GE(environment->observation_size(), 1);
  ASSERT_GE(environment->actions(), 2);
  ASSERT_GE(environment->episode_length(), 2);
  ASSERT_GE(environment->test_episodes(), 1);

  const std::vector<Trace> all = play_all(*environment, Split::training);
  EXPECT_EQ(play_all(*environment, Split::training), all)
      << "the same episodes differ the second time";
  EXPECT_EQ(play_all(*options.make(1, kBatch), Split::training), all);
  EXPECT_NE(play_all(*options.make(2, kBatch), Split::training), all) << "the seed is not used";
  EXPECT_NE(play_all(*environment, Split::test), all);
  EXPECT_NE(play_all(*environment, Split::validation), all);
  EXPECT_NE(play_all(*environment, Split::validation), play_all(*environment, Split::test));
  expect_index_and_batch_do_not_matter(options, all);
  expect_goes_on_where_it_was_saved(options);

  Player blind(*environment);
  for (int64_t b = 0; b < kBatch; ++b) blind.start(b, Split::training, b);
  blind.play(environment->episode_length(), /*look=*/false);
  for (int64_t b = 0; b < kBatch; ++b) EXPECT_EQ(blind.trace(b).rewards, all[b].rewards);

  // A trace changes no environment.
  const std::string before = environment->save();
  const std::vector<int64_t> actions = blind.actions_of(1, 3);
  EXPECT_EQ(environment->trace(Split::training, 1, actions),
            options.make(1, 1)->trace(Split::training, 1, actions));
  EXPECT_EQ(environment->save(), before);

  base::testing::error_of([&] { options.make(1, 0); });
  base::testing::error_of([&] { options.make(1, -1); });
}

}  // namespace stpn::tasks::contract
