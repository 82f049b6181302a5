#include "stpn/tasks/maze/maze.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "stpn/base/error.h"
#include "stpn/base/random.h"

namespace stpn::tasks {
namespace {

constexpr int64_t kMostSize = 101;
// The bits below the number of the episode that number its draws; a step draws at most once.
constexpr int kDrawBits = 20;
constexpr int64_t kMostSteps = 1'000'000;
constexpr int64_t kMostBatch = 1'000'000;

const MazeOptions& checked(const MazeOptions& options, int64_t batch) {
  const int64_t size = options.size, steps = options.steps;
  STPN_CHECK(size % 2 == 1 && size >= 5 && size <= kMostSize,
             "size = {}: must be an odd number from 5 to {}", size, kMostSize);
  STPN_CHECK(steps >= 1 && steps <= kMostSteps, "steps = {}: must be from 1 to {}", steps,
             kMostSteps);
  STPN_CHECK(options.test >= 1, "test = {}: must be at least 1", options.test);
  STPN_CHECK(batch >= 1 && batch <= kMostBatch, "a batch of {} environments: must be from 1 to {}",
             batch, kMostBatch);
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

std::unique_ptr<Environment> MazeOptions::make(uint64_t seed, int64_t batch) const {
  return std::make_unique<Maze>(*this, seed, batch);
}

Maze::Maze(const MazeOptions& options, uint64_t seed, int64_t batch)
    : options_(options),
      seed_(seed),
      layout_(checked(options, batch).size),
      states_(batch),
      ways_(layout_.free_cells().size()) {}

int32_t Maze::draw_cell(const EnvironmentState& state, int32_t except) const {
  const uint64_t episode = state.episode;
  base::Random random(seed_, stream_of(state.split),
                      episode << kDrawBits | static_cast<uint64_t>(state.teleports));
  const std::vector<int32_t>& free = layout_.free_cells();
  if (layout_.is_wall(except)) return free[random.below(static_cast<uint32_t>(free.size()))];
  const auto drawn = static_cast<int32_t>(random.below(static_cast<uint32_t>(free.size() - 1)));
  return free[drawn < layout_.rank(except) ? drawn : drawn + 1];
}

void Maze::observe(const EnvironmentState& state, float* observation) const {
  constexpr size_t kView = MazeLayout::kView;
  std::memcpy(observation, layout_.view(state.cell), kView * sizeof(float));
  observation[kView] = 0;
  observation[kView + 1] = 1;
  observation[kView + 2] = static_cast<float>(state.steps) / static_cast<float>(options_.steps);
  observation[kView + 3] = state.rewarded != 0 ? kReward : 0;
  for (int32_t action = 0; action < MazeLayout::kActions; ++action) {
    observation[kView + 4 + action] = action == state.last_action ? 1.0f : 0.0f;
  }
}

void Maze::start(int64_t b, Split split, int64_t episode, float* observation) {
  assert(0 <= b && b < batch() && 0 <= episode && episode < int64_t{1} << 32);
  EnvironmentState& state = states_[b];
  state = {.episode = static_cast<uint32_t>(episode), .split = split, .cell = layout_.centre()};
  state.reward_cell = draw_cell(state, /*except=*/0);
  observe(state, observation);
}

void Maze::step(const int64_t* action, float* observation, float* reward, bool* ended) {
  for (int64_t b = 0; b < batch(); ++b) {
    EnvironmentState& state = states_[b];
    assert(state.cell != 0 && state.steps < options_.steps);
    assert(0 <= action[b] && action[b] < MazeLayout::kActions);
    state.cell = layout_.next(state.cell, action[b]);
    state.last_action = static_cast<int32_t>(action[b]);
    state.rewarded = state.cell == state.reward_cell ? 1 : 0;
    if (state.rewarded != 0) {
      ++state.teleports;
      state.cell = draw_cell(state, state.reward_cell);
    }
    ++state.steps;
    reward[b] = state.rewarded != 0 ? kReward : 0;
    ended[b] = state.steps == options_.steps;
    if (observation != nullptr) observe(state, observation + b * kObservation);
  }
}

void Maze::best_actions(int64_t* action) {
  for (int64_t b = 0; b < batch(); ++b) {
    const EnvironmentState& state = states_[b];
    assert(state.cell != 0);
    std::vector<uint8_t>& ways = ways_[layout_.rank(state.reward_cell)];
    if (ways.empty()) ways = layout_.shortest_ways(state.reward_cell);
    action[b] = ways[state.cell];
  }
}

std::string Maze::label() const {
  return fmt::format("maze size {} steps {} seed {} batch {}\n", options_.size, options_.steps,
                     seed_, batch());
}

std::string Maze::save() const {
  static_assert(std::has_unique_object_representations_v<EnvironmentState>);  // there is no padding
  std::string saved = label();
  saved.append(reinterpret_cast<const char*>(states_.data()),
               states_.size() * sizeof(EnvironmentState));
  return saved;
}

bool Maze::is_possible(const EnvironmentState& state) const {
  const auto is_free = [&](int32_t cell) {
    return cell > 0 && cell < options_.size * options_.size && !layout_.is_wall(cell);
  };
  const auto within = [](int32_t value, int64_t least, int64_t most) {
    return least <= value && value <= most;
  };
  if (state.cell == 0) return true;
  return within(static_cast<int32_t>(state.split), 0, static_cast<int32_t>(Split::test)) &&
         within(state.steps, 0, options_.steps) && is_free(state.reward_cell) &&
         is_free(state.cell) && within(state.last_action, 0, MazeLayout::kActions - 1) &&
         within(state.rewarded, 0, 1) && within(state.teleports, state.rewarded, state.steps);
}

void Maze::restore(std::string_view saved) {
  const std::string head = label();
  std::vector<EnvironmentState> states(states_.size());
  const size_t bytes = states.size() * sizeof(EnvironmentState);
  STPN_CHECK(saved.starts_with(head) && saved.size() == head.size() + bytes,
             "the saved environments are not those of: {}", head.substr(0, head.size() - 1));
  std::memcpy(states.data(), saved.data() + head.size(), bytes);
  STPN_CHECK(std::all_of(states.begin(), states.end(),
                         [&](const EnvironmentState& s) { return is_possible(s); }),
             "the saved environments are damaged: use an older checkpoint");
  states_ = std::move(states);
}

std::string Maze::trace(Split split, int64_t episode, const std::vector<int64_t>& actions) const {
  STPN_CHECK(static_cast<int64_t>(actions.size()) <= options_.steps,
             "{} actions: an episode has {} steps", actions.size(), options_.steps);
  using Json = nlohmann::ordered_json;
  Maze maze(options_, seed_, 1);
  const EnvironmentState& state = maze.states_[0];
  const auto place = [&](int32_t cell) { return Json{cell / options_.size, cell % options_.size}; };
  float observation[kObservation];
  maze.start(0, split, episode, observation);
  Json walls = Json::array(), rewards = walls, teleports = walls, positions = walls;
  positions.push_back(place(state.cell));
  for (int32_t row = 0, cell = 0; row < options_.size; ++row) {
    std::string text;
    for (int32_t column = 0; column < options_.size; ++column) {
      text += layout_.is_wall(cell++) ? '#' : '.';
    }
    walls.push_back(text);
  }
  for (const int64_t action : actions) {
    STPN_CHECK(0 <= action && action < MazeLayout::kActions, "action {}: must be from 0 to {}",
               action, MazeLayout::kActions - 1);
    float reward = 0;
    bool ended = false;
    maze.step(&action, nullptr, &reward, &ended);
    rewards.push_back(reward);
    if (state.rewarded != 0) teleports.push_back(state.steps - 1);
    positions.push_back(place(state.cell));
  }
  return Json{{"task", "maze"},
              {"episode", episode},
              {"size", options_.size},
              {"walls", walls},
              {"reward_cell", place(state.reward_cell)},
              {"positions", positions},
              {"actions", actions},
              {"rewards", rewards},
              {"teleports", teleports}}
      .dump();
}

}  // namespace stpn::tasks
