// Inverted pendulum: keep a pole upright by pushing its cart along a rail.
//
// Action: a number from -3 to 3, 100 of which is the force in N. A step is 0.04 s, two time steps
// of the model. Reward: 1 a step. Terminated when the pole's angle to the vertical is above 0.2
// rad. Observation, 4 numbers: position of the cart, angle of the pole; their velocities, unless
// hidden. Start: all four uniform within +-0.01. The options are those of mujoco_task.h; the step
// that ends an episode is paid with pays_last_step only.
//
// The model: a cart of 10.47 kg on a rail of 2 m and a pole of 5.02 kg, 0.6 m long. Only the limits
// of the joints make contact.
//
// Barto, Sutton, Anderson: Neuronlike adaptive elements that can solve difficult learning control
// problems, IEEE Transactions on Systems, Man, and Cybernetics 13, 1983; masses, sizes and rules as
// InvertedPendulum-v4 and -v5 of Gymnasium 1.4.0. Differences: an action out of range is clipped
// before it is used, start states are drawn from a counter-based generator, and physics that is no
// longer finite is an error and does not end the episode.
#pragma once

#include "stpn/tasks/mujoco/mujoco_task.h"

namespace stpn::tasks {

struct InvertedPendulumOptions : MujocoOptions {
  double damping = 1;  // N s/m and N m s: of the cart on its rail, and of the hinge

  InvertedPendulumOptions();
  std::vector<base::Field> fields() override;
  std::string model() const override;
};

}  // namespace stpn::tasks
