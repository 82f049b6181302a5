// Hopper: a leg with one foot that has to move forward, in a vertical plane, without falling.
//
// Action: three numbers from -1 to 1, the torques at hip, knee and ankle in units of 200 N m. A
// step is 0.008 s, four time steps of the model. Reward: the forward speed of the step in m/s,
// minus 0.001 times the sum of the squares of the action; and a bonus of 1. Terminated when the
// torso is not above 0.7 m, leans by 0.2 rad or more, or when any other position or a velocity is
// 100 or more. Observation, 11 numbers: height and angle of the torso, angles of hip, knee and
// ankle; unless hidden, the velocities of x, height and these four angles, clipped to +-10. Start:
// all positions and velocities uniform within +-0.005 of the upright model. The options are those
// of mujoco_task.h; the step that ends an episode earns its bonus with pays_last_step only.
//
// Erez, Tassa, Todorov: Infinite-horizon model predictive control for periodic tasks with contacts,
// RSS 2011; masses, sizes and rules as Hopper-v4 and -v5 of Gymnasium 1.4.0. Differences: an action
// out of range is clipped before it is used, also in the reward, start states are drawn from a
// counter-based generator, and physics that is no longer finite is an error. MuJoCo 2.2.2 simulates
// contacts differently from 3.5.0 and later (it combines their margins by maximum, not by sum), so
// results of the two differ.
#pragma once

#include "stpn/tasks/mujoco/mujoco_task.h"

namespace stpn::tasks {

struct HopperOptions : MujocoOptions {
  HopperOptions();
};

}  // namespace stpn::tasks
