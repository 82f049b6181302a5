// A MuJoCo model and its simulation (Todorov, Erez, Tassa: MuJoCo, a physics engine for model-based
// control, IROS 2012). Nothing else in the project sees MuJoCo's own headers. In a build without
// MuJoCo the two load functions throw.
//
//   const auto physics = load_physics_text("pole", "<mujoco> ... </mujoco>", {});
//   PhysicsState state = physics->initial_state();
//   physics->advance(state, control, 2);
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace stpn::tasks {

// All that decides how a simulation goes on: restoring these numbers continues it with the same
// bits, in this environment or another one, on any thread.
struct PhysicsState {
  double time = 0;                 // s
  std::vector<double> positions;   // qpos: one of each joint, in m or rad
  std::vector<double> velocities;  // qvel: the same, in m/s or rad/s
  // qacc_warmstart: the accelerations of the last step, from which MuJoCo's solver starts. Without
  // them a simulation goes on with slightly different numbers where a limit or a contact is active.
  std::vector<double> warmstart;

  bool operator==(const PhysicsState&) const = default;
};

// How much memory a model written by us needs: MuJoCo's default of some megabytes makes it slow to
// begin a simulation. 0: MuJoCo's default.
struct PhysicsRoom {
  int64_t constraints = 0;  // at most, at the same time: joint limits, and the edges of friction
                            // cones of contacts
  int64_t contacts = 0;     // at most, at the same time
  int64_t kilobytes = 0;    // of the arena
};

// A model. Immutable: several threads may use it at once. Joints are slides and hinges, so that
// each has one position and one velocity.
class Physics {
 public:
  virtual ~Physics() = default;

  virtual int64_t joints() const = 0;
  virtual int64_t controls() const = 0;  // actuators
  virtual double time_step() const = 0;  // s

  // At rest at time 0, all joints in the positions that the model gives (qpos0).
  virtual PhysicsState initial_state() const = 0;

  // Simulates `steps` time steps.
  //   control  in (controls), finite; the model's own limits apply
  // Throws base::Error, with `state` unchanged, if a number becomes infinite, NaN or larger than
  // 1e10, or if MuJoCo reports any other problem. The result does not depend on whether the
  // processor flushes denormals to zero.
  virtual void advance(PhysicsState& state, const double* control, int64_t steps) const = 0;

  // The size in bytes of a simulation (mjData). There is one for each thread that simulates at the
  // same time, and it is used again.
  virtual int64_t bytes() const = 0;
};

// Loads a model from a text in MuJoCo's XML format (MJCF), or from a file. `name` is for messages.
// Throws base::UserError if it is not one or has what a PhysicsState does not store, such as a ball
// joint or an actuator with a state; and in a build without MuJoCo.
std::unique_ptr<const Physics> load_physics_text(const std::string& name, const std::string& text,
                                                 const PhysicsRoom& room);
std::unique_ptr<const Physics> load_physics_file(const std::string& path);

// The version of the MuJoCo that is linked, such as "4.0.0"; empty without.
std::string physics_version();

}  // namespace stpn::tasks
