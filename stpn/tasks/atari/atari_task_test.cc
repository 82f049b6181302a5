#include "stpn/tasks/atari/atari_task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "stpn/base/random.h"
#include "stpn/base/testing.h"
#include "stpn/tasks/atari/emulator.h"
#include "stpn/tasks/atari/run_length.h"
#include "stpn/tasks/atari/screen.h"
#include "stpn/tasks/environment_contract.h"

namespace stpn::tasks::atari_task_test {
namespace {

using Json = nlohmann::json;
using Bytes = std::vector<uint8_t>;

class Atari : public ::testing::Test {
 protected:
  void SetUp() override {
    if (emulator_version().empty()) GTEST_SKIP() << "this build has no Arcade Learning Environment";
  }
};

PongOptions pong(const std::string& mode, double repeat = 0, int64_t max_frames = 0) {
  PongOptions options;
  options.mode = mode;
  options.repeat_action_probability = repeat;
  options.max_frames = max_frames;
  return options;
}

Bytes screen_of(const Emulator& emulator) {
  return Bytes(emulator.screen(), emulator.screen() + emulator.height() * Emulator::kWidth);
}

Bytes start(Environment& environment, int64_t episode = 0, Split split = Split::training) {
  Bytes image(84 * 84);
  environment.start_image(split, episode, image.data());
  return image;
}

struct Seen {
  Bytes image;
  float reward = 0;
  bool terminated = false, truncated = false;
  bool operator==(const Seen&) const = default;
};

Seen step(Environment& environment, int64_t choice) {
  Seen seen{.image = Bytes(84 * 84)};
  const Step step = environment.step_image({.choice = choice}, seen.image.data());
  seen.reward = step.reward;
  seen.terminated = step.terminated;
  seen.truncated = step.truncated;
  return seen;
}

int64_t choice_of(int64_t step, uint64_t seed = 5) {
  return base::Random(seed, base::Stream::actions, static_cast<uint64_t>(step)).below(6);
}

std::vector<Seen> play(Environment& environment, int64_t steps, uint64_t seed = 5) {
  std::vector<Seen> all;
  for (int64_t t = 0; t < steps; ++t) {
    all.push_back(step(environment, choice_of(t, seed)));
    if (all.back().terminated || all.back().truncated) break;
  }
  return all;
}

TEST_F(Atari, KeepsTheContract) {
  contract::expect_environment_contract(pong("deepmind", 0.25, 90));
  contract::expect_trace_contract(pong("deepmind", 0.25));
  PongOptions with_no_ops = pong("stpn", 0.5, 30);
  with_no_ops.no_ops = 5;
  contract::expect_environment_contract(with_no_ops);
}

TEST_F(Atari, HasTheSizesOfItsModes) {
  const auto stpn = pong("stpn").make(1), deepmind = pong("deepmind").make(1);
  for (const auto* task : {stpn.get(), deepmind.get()}) {
    EXPECT_EQ(task->observation_size(), 84 * 84);
    EXPECT_EQ(task->actions(), ActionSpec::one_of(6));
    EXPECT_EQ(task->test_episodes(), 10);
    EXPECT_EQ(task->image()->bytes(), 84 * 84);
  }
  EXPECT_EQ(stpn->max_steps(), 400'000);
  EXPECT_EQ(deepmind->max_steps(), 27'000);
  EXPECT_EQ(pong("deepmind", 0, 9).make(1)->max_steps(), 3);
  EXPECT_EQ(stpn->image()->value(0), -1);
  EXPECT_EQ(stpn->image()->value(128), 0);
  EXPECT_EQ(deepmind->image()->value(255), 1);
}

// Without no-ops, so that the emulator alone can play the same.
TEST_F(Atari, AStepIsOneFrameOrFourWithTheLargerOfTheLastTwo) {
  for (const std::string mode : {"stpn", "deepmind"}) {
    PongOptions options = pong(mode);
    options.no_ops = 0;
    const auto task = options.make(1);
    const auto environment = task->make_environment();
    const auto emulator = load_emulator("pong", "");
    const bool is_deepmind = mode == "deepmind";
    ScreenReader reader(is_deepmind ? ScreenStyle::luma : ScreenStyle::channels,
                        emulator->palette(), 210);
    Bytes before, expected(84 * 84);
    const auto frames = [&](int64_t action) {
      int64_t points = 0;
      for (int frame = 0; frame < (is_deepmind ? 4 : 1); ++frame) {
        before = screen_of(*emulator);
        points += emulator->act(action);
      }
      return points;
    };
    before = screen_of(*emulator);
    if (is_deepmind) frames(1);  // FIRE
    reader.read(emulator->screen(), before.data(), expected.data());
    EXPECT_EQ(start(*environment, 3), expected);
    for (int64_t t = 0; t < 300; ++t) {
      const int64_t action = choice_of(t);
      const int64_t points = frames(action);
      reader.read(emulator->screen(), before.data(), expected.data());
      EXPECT_EQ(step(*environment, action),
                (Seen{expected, static_cast<float>(points), false, false}))
          << mode << " " << t;
    }
  }
}

TEST_F(Atari, WhoeverDoesNothingLosesInSoManySteps) {
  for (const bool is_deepmind : {false, true}) {
    const auto task = pong(is_deepmind ? "deepmind" : "stpn").make(1);
    const auto player = task->make_environment();
    start(*player, 1);
    int64_t steps = 0, first = 0;
    float sum = 0;
    Step last;
    do {
      last = player->step_image({.choice = 0}, nullptr);
      sum += last.reward;
      ++steps;
      if (sum != 0 && first == 0) first = steps;
    } while (!last.ended() && steps < 4000);
    EXPECT_TRUE(last.terminated && !last.truncated);
    EXPECT_EQ(sum, -21);
    if (!is_deepmind) {
      EXPECT_EQ(first, 256);
      EXPECT_EQ(steps, 3056);
    } else {
      EXPECT_GT(steps, 740);
      EXPECT_LE(steps, 764);
    }
  }
}

// A game ends in the middle of a step: the last image shows its last two frames.
TEST_F(Atari, TheLastImageIsOfTheLastTwoFrames) {
  std::set<int64_t> lengths;
  for (int64_t no_ops = 0; no_ops < 4; ++no_ops) {
    PongOptions options = pong("deepmind");
    options.no_ops = no_ops;
    const auto task = options.make(1);
    int64_t episode = 0;
    const auto drawn = [&] {
      return Json::parse(task->trace(Split::training, episode, {})).at("no_ops").get<int64_t>();
    };
    while (drawn() != no_ops) ++episode;
    const auto environment = task->make_environment();
    const auto emulator = load_emulator("pong", "");
    Bytes before = screen_of(*emulator);
    for (int64_t frame = 0; frame < no_ops + 4; ++frame) emulator->act(frame < no_ops ? 0 : 1);
    start(*environment, episode);
    Seen seen;
    int64_t frames = 0;
    while (!seen.terminated) {
      seen = step(*environment, 0);
      for (int frame = 0; frame < 4 && !emulator->ended(); ++frame, ++frames) {
        before = screen_of(*emulator);
        emulator->act(0);
      }
    }
    lengths.insert(frames % 4);
    ASSERT_TRUE(emulator->ended());
    Bytes expected(84 * 84);
    ScreenReader(ScreenStyle::luma, emulator->palette(), 210)
        .read(emulator->screen(), before.data(), expected.data());
    EXPECT_EQ(seen.image, expected) << no_ops;
  }
  EXPECT_GE(lengths.size(), 3u) << "no game ends early in a step: the test cannot fail";
}

TEST_F(Atari, TheFrameLimitTruncatesAlsoWithinAStep) {
  for (const int64_t limit : {1, 4, 5, 8}) {
    const auto environment_task = pong("deepmind", 0, limit).make(1);
    const auto environment = environment_task->make_environment();
    start(*environment);
    const int64_t steps = environment_task->max_steps();
    for (int64_t t = 1; t <= steps; ++t) {
      const Seen seen = step(*environment, 2);
      EXPECT_EQ(seen.truncated, t == steps) << limit;
      EXPECT_FALSE(seen.terminated);
    }
  }
  // The last frame of the game is that of the limit.
  const auto task = pong("stpn", 0, 3056).make(1);
  const auto environment = task->make_environment();
  start(*environment);
  Step last;
  while (!last.ended()) last = environment->step_image({.choice = 0}, nullptr);
  EXPECT_TRUE(last.terminated && last.truncated);
}

TEST_F(Atari, NoOpsAreDrawnFromOneToTheMost) {
  const auto task = pong("deepmind").make(1);
  std::set<int64_t> drawn;
  for (int64_t episode = 0; episode < 300; ++episode) {
    const Json trace = Json::parse(task->trace(Split::training, episode, {}));
    drawn.insert(trace.at("no_ops").get<int64_t>());
  }
  EXPECT_EQ(*drawn.begin(), 1);
  EXPECT_EQ(*drawn.rbegin(), 30);
  EXPECT_EQ(drawn.size(), 30u);
  EXPECT_EQ(Json::parse(pong("stpn").make(1)->trace(Split::test, 4, {})).at("no_ops"), 0);
}

TEST_F(Atari, ActionsRepeatAsOftenAsTheySay) {
  const auto task = pong("deepmind", 0.25).make(3);
  std::vector<float> actions;
  for (int64_t t = 0; t < 700; ++t) actions.push_back(static_cast<float>(t % 6));
  const Json trace = Json::parse(task->trace(Split::test, 0, actions));
  // The action changes with each step, so its first frame shows whether it was repeated.
  int64_t repeated = 0;
  int64_t last = 0;
  for (size_t t = 0; t < actions.size(); ++t) {
    for (const int64_t pressed : trace.at("pressed")[t]) {
      EXPECT_TRUE(pressed == last || pressed == trace.at("actions")[t]);
      last = pressed;
    }
    repeated += trace.at("pressed")[t][0] == trace.at("actions")[t] ? 0 : 1;
  }
  EXPECT_NEAR(static_cast<double>(repeated) / 700, 0.25, 0.06);
  const Json always = Json::parse(pong("stpn", 1).make(3)->trace(Split::test, 0, {2, 3, 4}));
  EXPECT_EQ(always.at("pressed"), Json::parse("[[0],[0],[0]]"));
}

TEST_F(Atari, GoesOnWithTheSameBitsFromWhereItWasSaved) {
  for (const double repeat : {0.0, 0.25}) {
    const auto task = pong("deepmind", repeat).make(1);
    const auto environment = task->make_environment();
    start(*environment, 9);
    play(*environment, 137, 1);
    const std::string saved = environment->save();
    const std::vector<Seen> rest = play(*environment, 200, 2);
    const std::string end = environment->save();
    for (int round = 0; round < 2; ++round) {
      // In a task of its own, as after a restart of the program.
      const auto another_task = pong("deepmind", repeat).make(1);
      const auto another = another_task->make_environment();
      if (round == 1) {
        start(*another, 2);
        play(*another, 50, 3);
      }
      another->restore(saved);
      EXPECT_TRUE(play(*another, 200, 2) == rest) << repeat;
      EXPECT_EQ(another->save(), end);
    }
  }
}

TEST_F(Atari, RefusesAStateOfAnotherTask) {
  const auto task = pong("deepmind").make(1);
  const auto environment = task->make_environment();
  start(*environment);
  const std::string saved = environment->save(), now = saved;
  for (const PongOptions& options :
       {pong("stpn"), pong("deepmind", 0.25), pong("deepmind", 0, 9)}) {
    const auto other_task = options.make(1);
    const auto other = other_task->make_environment();
    const std::string message = base::testing::error_of([&] { other->restore(saved); });
    EXPECT_NE(message.find("not one of: atari game pong mode "), std::string::npos) << message;
    EXPECT_NE(message.find("ale 0.12.1"), std::string::npos) << message;
  }
  base::testing::error_of([&] { pong("deepmind").make(2)->make_environment()->restore(saved); });
  EXPECT_EQ(environment->save(), now);
  EXPECT_LT(saved.size(), 30'000u);
}

TEST_F(Atari, EnvironmentsOfATaskPlayOnSeveralThreads) {
  const auto task = pong("deepmind", 0.25).make(1);
  const auto game = [&](int64_t episode) {
    const auto environment = task->make_environment();
    start(*environment, episode);
    return play(*environment, 60);
  };
  std::vector<std::vector<Seen>> alone, together(4);
  for (int64_t k = 0; k < 4; ++k) alone.push_back(game(k));
  std::vector<std::thread> threads;
  for (int64_t k = 0; k < 4; ++k) threads.emplace_back([&, k] { together[k] = game(k); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(together == alone);
}

TEST_F(Atari, AnotherGameHasItsOwnActionsAndMayHaveClippedRewards) {
  AtariOptions options;
  options.game = "ms_pacman";
  options.max_frames = 2000;
  const auto task = options.make(1);
  EXPECT_EQ(task->actions(), ActionSpec::one_of(9));
  options.clip_rewards = true;
  const auto clipped_task = options.make(1);
  const auto environment = task->make_environment(), clipped = clipped_task->make_environment();
  start(*environment);
  start(*clipped);
  float largest = 0;
  for (int64_t t = 0; t < 500; ++t) {
    const Seen seen = step(*environment, choice_of(t)), other = step(*clipped, choice_of(t));
    largest = std::max(largest, seen.reward);
    EXPECT_EQ(other.reward, seen.reward > 0 ? 1 : 0);
    EXPECT_EQ(other.image, seen.image);
    if (seen.terminated || seen.truncated) break;
  }
  EXPECT_GE(largest, 10);
  options = {};
  options.game = "asterix";  // without FIRE
  const Json trace = Json::parse(options.make(1)->trace(Split::test, 0, {}));
  EXPECT_EQ(trace.at("fire_frames"), 0);
}

TEST_F(Atari, TheTraceHasTheScreens) {
  const auto task = pong("stpn").make(1);
  const Json trace = Json::parse(task->trace(Split::test, 0, {0, 2, 2}));
  EXPECT_EQ(trace.at("screens").size(), 4u);
  EXPECT_EQ(trace.at("observations").size(), 4u);
  EXPECT_EQ(trace.at("palette").size(), 256u);
  EXPECT_EQ(trace.at("actions"), Json({0, 2, 2}));
  const auto emulator = load_emulator("pong", "");
  for (const int action : {0, 2, 2}) emulator->act(action);
  EXPECT_EQ(trace.at("screens")[3],
            encode_base64(encode_runs(emulator->screen(), screen_of(*emulator).size())));
  base::testing::error_of([&] { task->trace(Split::test, 0, {6}); });
  base::testing::error_of([&] { task->trace(Split::test, 0, {-1}); });
  base::testing::error_of([&] { task->trace(Split::test, 0, {0.5f}); });
  base::testing::error_of([&] { pong("stpn", 0, 1).make(1)->trace(Split::test, 0, {0, 0}); });
}

TEST(AtariOptionsTest, RefusesWhatIsImpossible) {
  EXPECT_EQ(base::testing::error_of([] { pong("dqn").make(1); }),
            "mode = \"dqn\": must be stpn or deepmind");
  for (const double probability : {-0.1, 1.1, std::nan("")}) {
    base::testing::error_of([&] { pong("stpn", probability).make(1); });
  }
  base::testing::error_of([] { pong("stpn", 0, -1).make(1); });
  for (const base::Field& field : PongOptions().fields()) EXPECT_NE(field.key, "game");
}

}  // namespace
}  // namespace stpn::tasks::atari_task_test
