#include "stpn/tasks/maze/maze.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <nlohmann/json.hpp>

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::tasks {
namespace {

constexpr int64_t kMostSize = 101;
// The bits below the number of the episode that number its draws; a step draws at most once.
constexpr int kDrawBits = 20;
constexpr int64_t kMostSteps = 1'000'000;

const MazeOptions& checked(const MazeOptions& options) {
  const int64_t size = options.size, steps = options.steps;
  STPN_CHECK(size % 2 == 1 && size >= 5 && size <= kMostSize,
             "size = {}: must be an odd number from 5 to {}", size, kMostSize);
  STPN_CHECK(steps >= 1 && steps <= kMostSteps, "steps = {}: must be from 1 to {}", steps,
             kMostSteps);
  STPN_CHECK(options.test >= 1, "test = {}: must be at least 1", options.test);
  return options;
}

}  // namespace

std::vector<base::Field> MazeOptions::fields() {
  return {
      base::field("size", size, "cells along a side of the maze, odd; more are harder",
                  {.least = 5, .most = static_cast<double>(kMostSize)}),
      base::field("steps", steps, "steps of an episode",
                  {.least = 1, .most = static_cast<double>(kMostSteps)}),
      base::field("test", test, "episodes of the final test", {.least = 1, .most = 1e9}),
  };
}

std::unique_ptr<EnvironmentTask> MazeOptions::make(uint64_t seed) const {
  return std::make_unique<Maze>(*this, seed);
}

Maze::Maze(const MazeOptions& options, uint64_t seed)
    : options_(options), seed_(seed), layout_(checked(options).size) {}

std::unique_ptr<Environment> Maze::make_environment() const {
  return std::make_unique<MazeEnvironment>(*this);
}

MazeEnvironment::MazeEnvironment(const Maze& maze)
    : PlainEnvironment(fmt::format("maze size {} steps {} seed {}", maze.options().size,
                                   maze.options().steps, maze.seed())),
      maze_(maze) {}

int32_t MazeEnvironment::draw_cell(int32_t except) const {
  const MazeLayout& layout = maze_.layout();
  const uint64_t episode = state_.episode;
  base::Random random(maze_.seed(), stream_of(state_.split),
                      episode << kDrawBits | static_cast<uint64_t>(state_.teleports));
  const std::vector<int32_t>& free = layout.free_cells();
  if (layout.is_wall(except)) return free[random.below(static_cast<uint32_t>(free.size()))];
  const auto drawn = static_cast<int32_t>(random.below(static_cast<uint32_t>(free.size() - 1)));
  return free[drawn < layout.rank(except) ? drawn : drawn + 1];
}

void MazeEnvironment::observe(float* observation) const {
  constexpr size_t kView = MazeLayout::kView;
  std::memcpy(observation, maze_.layout().view(state_.cell), kView * sizeof(float));
  observation[kView] = 0;
  observation[kView + 1] = 1;
  observation[kView + 2] =
      static_cast<float>(state_.steps) / static_cast<float>(maze_.options().steps);
  observation[kView + 3] = state_.rewarded != 0 ? Maze::kReward : 0;
  for (int32_t action = 0; action < MazeLayout::kActions; ++action) {
    observation[kView + 4 + action] = action == state_.last_action ? 1.0f : 0.0f;
  }
}

void MazeEnvironment::start(Split split, int64_t episode, float* observation) {
  assert(0 <= episode && episode < int64_t{1} << 32);
  state_ = {
      .episode = static_cast<uint32_t>(episode), .split = split, .cell = maze_.layout().centre()};
  state_.reward_cell = draw_cell(/*except=*/0);
  observe(observation);
}

Step MazeEnvironment::step(const Action& action, float* observation) {
  assert(state_.cell != 0 && state_.steps < maze_.options().steps);
  assert(0 <= action.choice && action.choice < MazeLayout::kActions);
  state_.cell = maze_.layout().next(state_.cell, action.choice);
  state_.last_action = static_cast<int32_t>(action.choice);
  state_.rewarded = state_.cell == state_.reward_cell ? 1 : 0;
  if (state_.rewarded != 0) {
    ++state_.teleports;
    state_.cell = draw_cell(state_.reward_cell);
  }
  ++state_.steps;
  if (observation != nullptr) observe(observation);
  // The length of an episode is a rule of the task, so its end is no truncation.
  return {.reward = state_.rewarded != 0 ? Maze::kReward : 0,
          .terminated = state_.steps == maze_.options().steps};
}

int64_t MazeEnvironment::best_choice() {
  assert(state_.cell != 0);
  if (goal_of_ways_ != state_.reward_cell) {
    goal_of_ways_ = state_.reward_cell;
    ways_ = maze_.layout().shortest_ways(goal_of_ways_);
  }
  return ways_[state_.cell];
}

bool MazeEnvironment::is_possible(const MazeState& state) const {
  const MazeOptions& options = maze_.options();
  const auto is_free = [&](int32_t cell) {
    return cell > 0 && cell < options.size * options.size && !maze_.layout().is_wall(cell);
  };
  const auto within = [](int32_t value, int64_t least, int64_t most) {
    return least <= value && value <= most;
  };
  if (state.cell == 0) return true;
  return within(static_cast<int32_t>(state.split), 0, static_cast<int32_t>(Split::test)) &&
         within(state.steps, 0, options.steps) && is_free(state.reward_cell) &&
         is_free(state.cell) && within(state.last_action, 0, MazeLayout::kActions - 1) &&
         within(state.rewarded, 0, 1) && within(state.teleports, state.rewarded, state.steps);
}

std::string Maze::trace(Split split, int64_t episode, const std::vector<float>& actions) const {
  STPN_CHECK(static_cast<int64_t>(actions.size()) <= options_.steps,
             "{} actions: an episode has {} steps", actions.size(), options_.steps);
  using Json = nlohmann::ordered_json;
  MazeEnvironment environment(*this);
  const auto place = [&](int32_t cell) { return Json{cell / options_.size, cell % options_.size}; };
  float observation[kObservation];
  environment.start(split, episode, observation);
  Json walls = Json::array(), rewards = walls, teleports = walls, positions = walls,
       choices = walls, observations = walls;
  positions.push_back(place(environment.cell()));
  observations.push_back(observation);
  for (int32_t row = 0, cell = 0; row < options_.size; ++row) {
    std::string text;
    for (int32_t column = 0; column < options_.size; ++column) {
      text += layout_.is_wall(cell++) ? '#' : '.';
    }
    walls.push_back(text);
  }
  for (const float action : actions) {
    const auto choice = static_cast<int64_t>(action);
    STPN_CHECK(0 <= choice && choice < MazeLayout::kActions, "action {}: must be from 0 to {}",
               choice, MazeLayout::kActions - 1);
    const float reward = environment.step({.choice = choice}, observation).reward;
    if (reward > 0) teleports.push_back(rewards.size());
    rewards.push_back(reward);
    choices.push_back(choice);
    positions.push_back(place(environment.cell()));
    observations.push_back(observation);
  }
  return Json{{"task", "maze"},
              {"episode", episode},
              {"size", options_.size},
              {"walls", walls},
              {"reward_cell", place(environment.reward_cell())},
              {"positions", positions},
              {"observations", observations},
              {"actions", choices},
              {"rewards", rewards},
              {"teleports", teleports}}
      .dump();
}

}  // namespace stpn::tasks
