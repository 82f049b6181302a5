#include "stpn/tasks/maze/maze.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "stpn/base/testing.h"
#include "stpn/tasks/environment_contract.h"
#include "stpn/tasks/policy.h"

namespace stpn::tasks::maze_test {
namespace {

using base::testing::error_of;
using Json = nlohmann::json;
using Cell = std::vector<int64_t>;  // row, column
constexpr int64_t kUp = 0, kDown = 1, kLeft = 2;

MazeOptions maze(int64_t size, int64_t steps = 200) {
  MazeOptions options;
  options.size = size;
  options.steps = steps;
  return options;
}

std::vector<std::string> walls_of(int64_t size) {
  return Json::parse(maze(size).make(1)->trace(Split::test, 0, {})).at("walls");
}

Json trace(const MazeOptions& options, int64_t episode, const std::vector<int64_t>& actions) {
  return Json::parse(
      options.make(1)->trace(Split::test, episode, {actions.begin(), actions.end()}));
}

std::vector<int64_t> random_actions(int64_t count, uint64_t seed) {
  base::Random random(seed, base::Stream::actions, 0);
  std::vector<int64_t> actions(count);
  for (int64_t& action : actions) action = random.below(4);
  return actions;
}

// The lowest-numbered episode of the test split with this reward cell.
int64_t episode_with_reward_at(const MazeOptions& options, const Cell& cell) {
  int64_t episode = 0;
  while (trace(options, episode, {}).at("reward_cell") != cell) ++episode;
  return episode;
}

// Distance of each cell from the goal in steps, relaxed until nothing changes.
std::vector<int64_t> distances(const MazeLayout& layout, int32_t goal) {
  std::vector<int64_t> distance(layout.size() * layout.size(), 1'000'000);
  distance[goal] = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (const int32_t cell : layout.free_cells()) {
      for (int64_t action = 0; action < 4; ++action) {
        const int64_t through = distance[layout.next(cell, action)] + 1;
        if (through >= distance[cell]) continue;
        distance[cell] = through;
        changed = true;
      }
    }
  }
  return distance;
}

TEST(Maze, KeepsTheContract) {
  for (const auto& options : {maze(5, 40), maze(7, 75), maze(13, 400), maze(11, 333)}) {
    SCOPED_TRACE(options.size);
    contract::expect_environment_contract(options);
    contract::expect_trace_contract(options);
  }
}

TEST(Maze, HasThePublishedSizes) {
  const auto task = MazeOptions().make(1);
  EXPECT_EQ(task->observation_size(), 17);
  EXPECT_EQ(task->actions(), ActionSpec::one_of(4));
  EXPECT_EQ(task->max_steps(), 200);
  EXPECT_TRUE(task->fixed_length());
  EXPECT_EQ(task->test_episodes(), 51'200);
}

TEST(Maze, HasAnOuterWallAndPillarsButNoneInTheCentre) {
  EXPECT_EQ(walls_of(5), (std::vector<std::string>{"#####", "#...#", "#...#", "#...#", "#####"}));
  EXPECT_EQ(walls_of(7), (std::vector<std::string>{"#######", "#.....#", "#.#.#.#", "#.....#",
                                                   "#.#.#.#", "#.....#", "#######"}));
  EXPECT_EQ(walls_of(9), (std::vector<std::string>{"#########", "#.......#", "#.#.#.#.#",
                                                   "#.......#", "#.#...#.#", "#.......#",
                                                   "#.#.#.#.#", "#.......#", "#########"}));
  EXPECT_EQ(walls_of(13)[6], "#.#.#...#.#.#");
  EXPECT_EQ(MazeLayout(13).free_cells().size(), 97);
}

TEST(Maze, ObservationIsWhatTheHeaderSays) {
  const auto task = maze(13).make(1);
  const auto environment = task->make_environment();
  std::vector<float> x(17);
  environment->start(Split::test, 0, x.data());
  EXPECT_EQ(x, (std::vector<float>{0, 0, 0, 0, 0, 0, 0, 0,
                                   0,           // the centre: the nearest pillar is 2 cells away
                                   0, 1, 0, 0,  //
                                   1, 0, 0, 0}));
  const Step step = environment->step({.choice = kLeft}, x.data());  // (6, 5): a pillar at (6, 4)
  EXPECT_EQ(x, (std::vector<float>{0, 0, 0, 1, 0, 0, 0, 0, 0,        //
                                   0, 1, 1.0f / 200, 0,              //
                                   0, 0, 1, 0}));
  EXPECT_EQ(step.reward, 0);
  EXPECT_FALSE(step.ended());
  environment->step({.choice = kLeft}, x.data());  // into the pillar
  environment->step({.choice = kUp}, x.data());    // (5, 5): pillars at all four corners
  EXPECT_EQ(x, (std::vector<float>{1, 0, 1, 0, 0, 0, 1, 0, 0,  // the centre would be one
                                   0, 1, 3.0f / 200, 0,        //
                                   1, 0, 0, 0}));
}

TEST(Maze, RewardIsSeenInTheNextObservationOnly) {
  const auto task = maze(13).make(1);
  const auto environment = task->make_environment();
  std::vector<float> x(17);
  environment->start(Split::test, episode_with_reward_at(maze(13), {5, 6}), x.data());
  EXPECT_EQ(environment->step({.choice = kUp}, x.data()).reward, 10);
  EXPECT_EQ(x[12], 10);
  EXPECT_EQ(environment->step({.choice = kUp}, x.data()).reward, 0);
  EXPECT_EQ(x[12], 0);
}

TEST(Maze, EpisodesEndAfterTheirStepsAndNotBefore) {
  const auto task = maze(5, 3).make(1);
  const auto environment = task->make_environment();
  std::vector<float> x(17);
  environment->start(Split::test, 0, x.data());
  for (int64_t t = 1; t <= 3; ++t) {
    const Step step = environment->step({.choice = kUp}, x.data());
    EXPECT_EQ(step.terminated, t == 3);
    EXPECT_FALSE(step.truncated);
    EXPECT_EQ(x[11], static_cast<float>(t) / 3);
  }
}

TEST(Maze, NoAgentEntersAWallOrJumpsUnlessRewarded) {
  for (const int64_t size : {5, 7, 9, 13, 21}) {
    int64_t bumps = 0, rewards = 0;
    for (int64_t episode = 0; episode < 50; ++episode) {
      const std::vector<int64_t> actions = random_actions(200, static_cast<uint64_t>(episode));
      const Json seen = trace(maze(size), episode, actions);
      const std::vector<std::string> walls = seen.at("walls");
      const std::vector<Cell> positions = seen.at("positions");
      const Cell goal = seen.at("reward_cell");
      ASSERT_EQ(positions.size(), 201);
      ASSERT_EQ(positions[0], (Cell{size / 2, size / 2}));
      ASSERT_EQ(walls[goal[0]][goal[1]], '.');
      std::vector<int64_t> teleports;
      for (size_t t = 0; t < actions.size(); ++t) {
        Cell wanted = positions[t];
        wanted[actions[t] / 2] += actions[t] % 2 == 0 ? -1 : 1;
        const bool bump = walls[wanted[0]][wanted[1]] == '#';
        if (bump) wanted = positions[t];
        const bool rewarded = wanted == goal;
        ASSERT_EQ(seen.at("rewards")[t], rewarded ? 10 : 0);
        if (rewarded) {
          teleports.push_back(static_cast<int64_t>(t));
          ASSERT_NE(positions[t + 1], goal);
          ASSERT_EQ(walls[positions[t + 1][0]][positions[t + 1][1]], '.');
        } else {
          ASSERT_EQ(positions[t + 1], wanted);
        }
        bumps += bump ? 1 : 0;
        rewards += rewarded ? 1 : 0;
      }
      ASSERT_EQ(seen.at("teleports"), teleports);
    }
    EXPECT_GT(bumps, 100);
    EXPECT_GT(rewards, 5);
  }
}

TEST(Maze, RewardInTheCentreIsEarnedByComingBack) {
  const int64_t episode = episode_with_reward_at(maze(7), {3, 3});
  const Json seen = trace(maze(7), episode, {kUp, kDown});
  EXPECT_EQ(seen.at("rewards"), (std::vector<int>{0, 10}));

  const auto task = maze(7).make(1);
  const auto environment = task->make_environment();
  std::vector<float> x(17);
  environment->start(Split::test, episode, x.data());
  EXPECT_EQ(environment->best_choice(), kUp);
  EXPECT_EQ(environment->step({.choice = kUp}, x.data()).reward, 0);
  EXPECT_EQ(environment->best_choice(), kDown);
  EXPECT_EQ(environment->step({.choice = kDown}, x.data()).reward, 10);
}

TEST(Maze, RewardAndTeleportsAreUniform) {
  constexpr int64_t kEpisodes = 20'000;
  const auto task = maze(7).make(3);
  std::vector<int64_t> goals(49), landings(49);  // of episodes whose reward is above the centre
  int64_t found = 0;
  for (int64_t episode = 0; episode < kEpisodes; ++episode) {
    const Json seen = Json::parse(task->trace(Split::test, episode, {kUp}));
    const Cell goal = seen.at("reward_cell"), landed = seen.at("positions")[1];
    ++goals[goal[0] * 7 + goal[1]];
    if (goal != Cell{2, 3}) continue;
    ++landings[landed[0] * 7 + landed[1]];
    ++found;
  }
  const MazeLayout layout(7);
  const auto expect_uniform = [&](const std::vector<int64_t>& counts, double total, int32_t but) {
    double cells = 0;
    for (const int32_t cell : layout.free_cells()) cells += cell == but ? 0 : 1;
    for (int32_t cell = 0; cell < 49; ++cell) {
      const double expected = layout.is_wall(cell) || cell == but ? 0 : total / cells;
      EXPECT_NEAR(static_cast<double>(counts[cell]), expected, 5 * std::sqrt(expected)) << cell;
    }
  };
  expect_uniform(goals, kEpisodes, -1);
  expect_uniform(landings, static_cast<double>(found), 2 * 7 + 3);
}

// All published results were measured on these episodes: if this test fails, the code is wrong.
TEST(Maze, EpisodesNeverChange) {
  const auto reward_cells = [](Split split) {
    const auto task = maze(13).make(1);
    std::vector<Cell> cells;
    for (int64_t episode = 0; episode < 4; ++episode) {
      cells.push_back(Json::parse(task->trace(split, episode, {})).at("reward_cell"));
    }
    return cells;
  };
  EXPECT_EQ(reward_cells(Split::training),
            (std::vector<Cell>{{11, 2}, {1, 10}, {10, 9}, {11, 11}}));
  EXPECT_EQ(reward_cells(Split::validation), (std::vector<Cell>{{7, 1}, {6, 6}, {4, 11}, {2, 5}}));
  EXPECT_EQ(reward_cells(Split::test), (std::vector<Cell>{{9, 2}, {5, 10}, {11, 6}, {1, 4}}));

  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over the positions of an episode of 200 steps
  const Json seen = trace(maze(5), 2, random_actions(200, 1));
  for (const Cell& cell : seen.at("positions").get<std::vector<Cell>>()) {
    for (const int64_t number : cell) {
      hash = (hash ^ static_cast<uint64_t>(number)) * 0x100000001b3;
    }
  }
  EXPECT_EQ(seen.at("teleports"), (std::vector<int>{2, 6, 82, 98, 107, 160}));
  EXPECT_EQ(hash, 2592073618387080409u);
}

TEST(Maze, OracleTakesAShortestPathAndTheFirstOfSeveral) {
  for (const int64_t size : {5, 7, 9, 13}) {
    const MazeLayout layout(size);
    for (const int32_t goal : layout.free_cells()) {
      const std::vector<int64_t> distance = distances(layout, goal);
      const std::vector<uint8_t> ways = layout.shortest_ways(goal);
      for (const int32_t cell : layout.free_cells()) {
        if (cell == goal) continue;
        const auto nearer = [&](int64_t action) {
          return distance[layout.next(cell, action)] == distance[cell] - 1;
        };
        ASSERT_TRUE(nearer(ways[cell]));
        for (int64_t before = 0; before < ways[cell]; ++before) ASSERT_FALSE(nearer(before));
      }
      ASSERT_NE(layout.next(goal, ways[goal]), goal);
    }
  }
}

// The exact expected reward of an episode under a policy: `moves(cell, goal)` are the actions it
// takes in a cell, all with equal probability.
template <typename Moves>
double expected_reward(int64_t size, int64_t steps, const Moves& moves) {
  const MazeLayout layout(size);
  const auto& free = layout.free_cells();
  double reward = 0;
  for (const int32_t goal : free) {
    std::vector<double> here(size * size, 0.0);
    here[layout.centre()] = 1 / static_cast<double>(free.size());
    for (int64_t t = 0; t < steps; ++t) {
      std::vector<double> there(size * size, 0.0);
      for (const int32_t cell : free) {
        const std::vector<int64_t> actions = moves(cell, goal);
        for (const int64_t action : actions) {
          there[layout.next(cell, action)] += here[cell] / static_cast<double>(actions.size());
        }
      }
      const double hit = std::exchange(there[goal], 0.0);
      reward += 10 * hit;
      for (const int32_t cell : free) {
        if (cell != goal) there[cell] += hit / static_cast<double>(free.size() - 1);
      }
      here = there;
    }
  }
  return reward;
}

Spread played(const MazeOptions& options, const std::string& policy) {
  return spread_of(play_untrained(*options.make(1), policy, 1, Split::test, 20'000).rewards);
}

TEST(Maze, BaselinesHaveTheirExpectedRewards) {
  const auto anywhere = [](int32_t, int32_t) { return std::vector<int64_t>{0, 1, 2, 3}; };
  for (const int64_t size : {9, 13}) {
    const MazeLayout layout(size);
    std::vector<std::vector<uint8_t>> ways(size * size);
    for (const int32_t goal : layout.free_cells()) ways[goal] = layout.shortest_ways(goal);
    const auto shortest = [&](int32_t cell, int32_t goal) {
      return std::vector<int64_t>{ways[goal][cell]};
    };
    const double random = expected_reward(size, 200, anywhere);
    const double oracle = expected_reward(size, 200, shortest);
    EXPECT_NEAR(random, size == 9 ? 14.77 : 5.48, 0.005);
    EXPECT_NEAR(oracle, size == 9 ? 418.96 : 270.38, 0.005);
    const Spread of_random = played(maze(size), "random");
    const Spread of_oracle = played(maze(size), "oracle");
    EXPECT_NEAR(of_random.mean, random, 4 * of_random.standard_error);
    EXPECT_NEAR(of_oracle.mean, oracle, 4 * of_oracle.standard_error);
    EXPECT_LT(of_random.standard_error, 0.2);
    EXPECT_LT(of_oracle.standard_error, 0.6);
  }
}

TEST(Maze, RefusesImpossibleOptions) {
  const auto refused = [](const MazeOptions& options) {
    return error_of([&] { options.make(1); });
  };
  EXPECT_NE(refused(maze(12)).find("size = 12"), std::string::npos);
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  for (const int64_t size : {int64_t{3}, int64_t{1}, int64_t{0}, int64_t{-13}, int64_t{103}, kHuge,
                             std::numeric_limits<int64_t>::min()}) {
    refused(maze(size));
  }
  for (const int64_t steps : {int64_t{0}, int64_t{-1}, int64_t{1'000'001}, kHuge}) {
    refused(maze(13, steps));
  }
  MazeOptions untested;
  untested.test = 0;
  refused(untested);
  maze(101, 1'000'000).make(1);
}

TEST(Maze, TraceRefusesActionsThatCannotBe) {
  const auto task = maze(5, 3).make(1);
  for (const auto& actions :
       {std::vector<float>{4}, std::vector<float>{-1}, std::vector<float>{0, 0, 0, 0}}) {
    error_of([&] { task->trace(Split::test, 0, actions); });
  }
}

TEST(Maze, ReadsItsOptionsFromAnExperiment) {
  base::Config config;
  config.tables["task"]["size"] = {int64_t{9}, "x.toml:3"};
  MazeOptions options;
  base::assign(config, "task", options.fields());
  EXPECT_EQ(options.size, 9);
  config.tables["task"]["size"] = {int64_t{3}, "x.toml:3"};
  error_of([&] { base::assign(config, "task", options.fields()); });
}

}  // namespace
}  // namespace stpn::tasks::maze_test
