#include "stpn/tasks/mujoco/inverted_pendulum.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

namespace stpn::tasks {
namespace {

// Mass, centre and inertia of capsules of 1000 kg/m^3: the cart's has radius 0.1 m and a cylinder
// 0.2 m long, the pole's 0.049 m and 0.6 m; it leans by 0.001 m. The inertia of the cart has no
// effect. The flags leave out what the model has nothing of: a fifth of the time of a step.
constexpr const char* kPendulum = R"(<mujoco model="stpn inverted pendulum">
  <option timestep="0.02" integrator="RK4" gravity="0 0 -9.81">
    <flag contact="disable" equality="disable" frictionloss="disable"/>
  </option>
  <worldbody>
    <body name="cart">
      <inertial pos="0 0 0" mass="10.471975511965978" diaginertia="0.1 0.1 0.1"/>
      <joint name="slider" type="slide" axis="1 0 0" damping="1" limited="true" range="-1 1"/>
      <body name="pole">
        <inertial pos="0.0005 0 0.3" mass="5.018591641363305"
                  diaginertia="0.1887497668730885 0.1887497668730885 0.0059064963098460705"/>
        <joint name="hinge" type="hinge" axis="0 1 0" damping="1" limited="true" range="-90 90"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="force" joint="slider" gear="100" ctrllimited="true" ctrlrange="-3 3"/>
  </actuator>
</mujoco>
)";

constexpr double kLargestAngle = 0.2;  // rad

void pendulum_positions(const PhysicsState& state, float* out) {
  for (size_t k = 0; k < 2; ++k) out[k] = static_cast<float>(state.positions[k]);
}

void pendulum_velocities(const PhysicsState& state, float* out) {
  for (size_t k = 0; k < 2; ++k) out[k] = static_cast<float>(state.velocities[k]);
}

MujocoOutcome pendulum_outcome(const PhysicsState&, const PhysicsState& after,
                               const std::vector<double>&, double) {
  return {.bonus = 1, .fallen = std::abs(after.positions[1]) > kLargestAngle};
}

const MujocoRules& pendulum_rules() {
  static const MujocoRules rules = {.name = "inverted_pendulum",
                                    .model = kPendulum,
                                    .room = {.constraints = 8, .contacts = 1, .kilobytes = 16},
                                    .joints = 2,
                                    .physics_steps = 2,
                                    .start_noise = 0.01,
                                    .actions = ActionSpec::box({-3}, {3}),
                                    .observed_positions = 2,
                                    .observed_velocities = 2,
                                    .observe_positions = pendulum_positions,
                                    .observe_velocities = pendulum_velocities,
                                    .outcome = pendulum_outcome};
  return rules;
}

}  // namespace

InvertedPendulumOptions::InvertedPendulumOptions() : MujocoOptions(pendulum_rules()) {}

std::vector<base::Field> InvertedPendulumOptions::fields() {
  std::vector<base::Field> fields = MujocoOptions::fields();
  fields.push_back(base::field("damping", damping,
                               "of both joints, in the built-in model; with 0 and hidden "
                               "velocities nobody can keep the pole up without memory",
                               {.least = 0, .most = 100}));
  return fields;
}

std::string InvertedPendulumOptions::model() const {
  constexpr std::string_view kDefault = "damping=\"1\"";
  std::string text = rules.model;
  if (damping == 1) return text;
  for (size_t at = 0; (at = text.find(kDefault, at)) != std::string::npos;) {
    text.replace(at, kDefault.size(), fmt::format("damping=\"{}\"", damping));
  }
  return text;
}

}  // namespace stpn::tasks
