// Maze exploration: find a reward that cannot be seen, and return to it as often as possible.
//
// A maze of size x size cells has an outer wall, and a pillar on every cell whose row and column,
// counted from 0, are both even, except the centre. Each episode has one reward cell, drawn
// uniformly from the free cells, and starts in the centre. An action moves the agent up (0), down
// (1), left (2) or right (3); if a wall is there, it stays where it is, without a penalty. An agent
// that is on the reward cell after its action receives 10 and is moved to another free cell, drawn
// uniformly from all but the reward cell; the reward cell stays the same for the whole episode.
// The reward cell differs from episode to episode, so no trained weight can hold it: the agent has
// to remember in its state where the reward is, and how it got there.
//
// Observation, 17 numbers: the 3 x 3 cells around the agent, row by row, 1 for a wall (9); 0,
// unused; 1; steps done / steps; the last reward; the last action, one-hot (4). Before the first
// action the last reward is 0 and the last action is 0.
//
// | option | default |                                          |
// | ------ | ------- | ---------------------------------------- |
// | size   | 13      | cells along a side, odd, at least 5      |
// | steps  | 200     | steps of an episode                      |
// | test   | 51,200  | episodes of the final test               |
//
// Miconi, Rawal, Clune, Stanley: Backpropamine: training self-modifying neural networks with
// differentiable neuromodulated plasticity, ICLR 2019; sizes and rewards as in the experiments on
// short-term plasticity neurons. Difference: episodes are drawn from a counter-based generator, so
// they are not those of the published code.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/environment.h"
#include "stpn/tasks/maze/maze_layout.h"
#include "stpn/tasks/plain_environment.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

struct MazeOptions : EnvironmentOptions {
  int64_t size = 13;
  int64_t steps = 200;
  int64_t test = 51'200;

  std::vector<base::Field> fields() override;
  std::unique_ptr<EnvironmentTask> make(uint64_t seed) const override;
};

class Maze : public EnvironmentTask {
 public:
  static constexpr int64_t kObservation = MazeLayout::kView + 4 + MazeLayout::kActions;
  static constexpr float kReward = 10;

  // Throws base::UserError for impossible options.
  Maze(const MazeOptions& options, uint64_t seed);

  int64_t observation_size() const override { return kObservation; }
  const ActionSpec& actions() const override { return actions_; }
  int64_t max_steps() const override { return options_.steps; }
  bool fixed_length() const override { return true; }
  int64_t test_episodes() const override { return options_.test; }
  std::vector<int64_t> reward_inputs() const override { return {MazeLayout::kView + 3}; }
  std::unique_ptr<Environment> make_environment() const override;
  std::string trace(Split split, int64_t episode, const std::vector<float>& actions) const override;

  const MazeOptions& options() const { return options_; }
  uint64_t seed() const { return seed_; }
  const MazeLayout& layout() const { return layout_; }

 private:
  MazeOptions options_;
  uint64_t seed_;
  MazeLayout layout_;
  ActionSpec actions_ = ActionSpec::one_of(MazeLayout::kActions);
};

struct MazeState {
  uint32_t episode = 0;
  Split split = Split::training;
  int32_t steps = 0;  // done
  int32_t reward_cell = 0;
  int32_t cell = 0;  // 0, which is a wall, before the first start
  int32_t last_action = 0;
  int32_t rewarded = 0;  // 1 if the last step was rewarded, else 0
  int32_t teleports = 0;
};

// One agent in its maze.
class MazeEnvironment : public PlainEnvironment<MazeState> {
 public:
  explicit MazeEnvironment(const Maze& maze);

  void start(Split split, int64_t episode, float* observation) override;
  Step step(const Action& action, float* observation) override;
  // The first action of a shortest path to the reward; of several, the one with the lowest number.
  int64_t best_choice() override;

  int32_t cell() const { return state_.cell; }
  int32_t reward_cell() const { return state_.reward_cell; }

 private:
  // Draws a free cell other than `except`. The number of the draw within the episode is that of the
  // teleports so far.
  int32_t draw_cell(int32_t except) const;
  void observe(float* observation) const;
  bool is_possible(const MazeState& state) const override;

  const Maze& maze_;
  int32_t goal_of_ways_ = 0;   // the reward cell that ways_ leads to; 0: none yet
  std::vector<uint8_t> ways_;  // best actions by cell
};

}  // namespace stpn::tasks
