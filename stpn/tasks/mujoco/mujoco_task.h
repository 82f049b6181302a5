// What RL tasks on MuJoCo share: the model, the state and its storage, hidden velocities, the time
// limit, traces. A task adds its MujocoRules: a model and three functions; see
// inverted_pendulum.cc.
//
// Each step of the environment is a fixed number of the model's time steps with the same control:
// the action, clipped to the task's limits. All positions and velocities start with uniform noise.
//
// | option            | default |                                                        |
// | ----------------- | ------- | ------------------------------------------------------ |
// | hidden_velocities | false   | observations have positions only                       |
// | max_steps         | 1000    | the time limit: then an episode is truncated           |
// | pays_last_step    | true    | the step that ends an episode earns the bonus too (v4) |
// | model_file        |         | another model; empty: the built-in one                 |
// | test              | 10      | episodes of the final test                             |
//
// If a step ends an episode in the task's own way and is the last of the time limit, it is both
// terminated and truncated. Numbers that are not finite end the run with base::Error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "stpn/tasks/mujoco/physics.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks {

// What a step gave, by the rules of a task.
struct MujocoOutcome {
  double reward = 0;  // without the bonus
  double bonus = 0;   // for not having fallen
  bool fallen = false;
};

struct MujocoRules {
  std::string name;   // of the task
  std::string model;  // as MJCF
  PhysicsRoom room;
  int64_t joints = 0;         // of the model, also of another model file
  int64_t physics_steps = 0;  // in one step
  double start_noise = 0;     // the start positions and velocities are uniform within +- this
  ActionSpec actions;         // one number for each actuator

  // The observed numbers: positions first, then velocities, which may be hidden.
  int64_t observed_positions = 0, observed_velocities = 0;
  // Write them to `out`, each of which has these sizes.
  void (*observe_positions)(const PhysicsState& state, float* out) = nullptr;
  void (*observe_velocities)(const PhysicsState& state, float* out) = nullptr;

  //   control  the clipped action
  //   seconds  the time of the step
  MujocoOutcome (*outcome)(const PhysicsState& before, const PhysicsState& after,
                           const std::vector<double>& control, double seconds) = nullptr;
};

// The options of all these tasks. Each has a class derived from this one, which passes its rules.
struct MujocoOptions : EnvironmentOptions {
  bool hidden_velocities = false;
  int64_t max_steps = 1000;
  bool pays_last_step = true;
  std::string model_file;
  int64_t test = 10;

  // `rules` must live as long as the program.
  explicit MujocoOptions(const MujocoRules& rules) : rules(rules) {}

  std::vector<base::Field> fields() override;
  // The built-in model with these options, as MuJoCo's XML.
  virtual std::string model() const { return rules.model; }
  // Throws base::UserError also for a model file that cannot be loaded or does not have the joints
  // and actuators of the task, and in a build without MuJoCo.
  std::unique_ptr<EnvironmentTask> make(uint64_t seed) const override;

  const MujocoRules& rules;
};

}  // namespace stpn::tasks
