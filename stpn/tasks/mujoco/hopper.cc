#include "stpn/tasks/mujoco/hopper.h"

#include <algorithm>
#include <cmath>

namespace stpn::tasks {
namespace {

// Each body begins at its joint and is a capsule of 1000 kg/m^3. The first three joints are those
// of the plane: `height` is measured from the ground, so its reference is the torso's 1.25 m.
constexpr const char* kHopper = R"(<mujoco model="stpn hopper">
  <compiler angle="degree"/>
  <option timestep="0.002" integrator="RK4" gravity="0 0 -9.81"/>
  <default>
    <geom type="capsule" density="1000" condim="1" friction="0.9 0.005 0.0001"
          margin="0.001" solref="0.02 1" solimp="0.8 0.8 0.01"/>
    <joint type="hinge" axis="0 -1 0" damping="1" armature="1" limited="true"/>
    <motor gear="200" ctrllimited="true" ctrlrange="-1 1"/>
    <default class="plane">
      <joint damping="0" armature="0" limited="false"/>
    </default>
  </default>
  <worldbody>
    <geom name="ground" type="plane" size="20 20 0.1" condim="3" friction="1 0.005 0.0001"/>
    <body name="torso" pos="0 0 1.25">
      <joint class="plane" name="x" type="slide" axis="1 0 0"/>
      <joint class="plane" name="height" type="slide" axis="0 0 1" ref="1.25"/>
      <joint class="plane" name="angle" axis="0 1 0"/>
      <geom name="torso" size="0.05" fromto="0 0 0.2 0 0 -0.2"/>
      <body name="thigh" pos="0 0 -0.2">
        <joint name="hip" range="-150 0"/>
        <geom name="thigh" size="0.05" fromto="0 0 0 0 0 -0.45"/>
        <body name="shin" pos="0 0 -0.45">
          <joint name="knee" range="-150 0"/>
          <geom name="shin" size="0.04" fromto="0 0 0 0 0 -0.5"/>
          <body name="foot" pos="0 0 -0.5">
            <joint name="ankle" range="-45 45"/>
            <geom name="foot" size="0.06" fromto="-0.13 0 0 0.26 0 0" friction="2 0.005 0.0001"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="hip" joint="hip"/>
    <motor name="knee" joint="knee"/>
    <motor name="ankle" joint="ankle"/>
  </actuator>
</mujoco>
)";

constexpr double kLowest = 0.7;         // m
constexpr double kLargestLean = 0.2;    // rad
constexpr double kLargestNumber = 100;  // of the other positions and the velocities
constexpr double kControlCost = 1e-3;
constexpr double kLargestSeen = 10;  // velocity in an observation

void hopper_positions(const PhysicsState& state, float* out) {
  for (size_t k = 1; k < 6; ++k) out[k - 1] = static_cast<float>(state.positions[k]);
}

void hopper_velocities(const PhysicsState& state, float* out) {
  for (size_t k = 0; k < 6; ++k) {
    out[k] = static_cast<float>(std::clamp(state.velocities[k], -kLargestSeen, kLargestSeen));
  }
}

bool hopper_has_fallen(const PhysicsState& state) {
  const auto is_large = [](double number) { return std::abs(number) >= kLargestNumber; };
  return state.positions[1] <= kLowest || std::abs(state.positions[2]) >= kLargestLean ||
         std::any_of(state.positions.begin() + 2, state.positions.end(), is_large) ||
         std::any_of(state.velocities.begin(), state.velocities.end(), is_large);
}

MujocoOutcome hopper_outcome(const PhysicsState& before, const PhysicsState& after,
                             const std::vector<double>& control, double seconds) {
  double squares = 0;
  for (const double number : control) squares += number * number;
  return {.reward = (after.positions[0] - before.positions[0]) / seconds - kControlCost * squares,
          .bonus = 1,
          .fallen = hopper_has_fallen(after)};
}

const MujocoRules& hopper_rules() {
  static const MujocoRules rules = {.name = "hopper",
                                    .model = kHopper,
                                    .room = {.constraints = 64, .contacts = 16, .kilobytes = 64},
                                    .joints = 6,
                                    .physics_steps = 4,
                                    .start_noise = 0.005,
                                    .actions = ActionSpec::box({-1, -1, -1}, {1, 1, 1}),
                                    .observed_positions = 5,
                                    .observed_velocities = 6,
                                    .observe_positions = hopper_positions,
                                    .observe_velocities = hopper_velocities,
                                    .outcome = hopper_outcome};
  return rules;
}

}  // namespace

HopperOptions::HopperOptions() : MujocoOptions(hopper_rules()) {}

}  // namespace stpn::tasks
