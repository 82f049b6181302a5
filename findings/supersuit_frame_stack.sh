#!/usr/bin/env bash
# SuperSuit 3.11.0: frame_stack_v1 and frame_stack_v2 lose the past, in two ways.
#
# - Of two-dimensional observations, such as grey screens, stacked along the first axis (stack_dim=0, PyTorch's order)
#   each frame is the newest one, and the last frame is zero: the agent sees the present three times and nothing before
#   it. Along the last axis, the default, and with screens of shape (1, height, width) the stack is right.
# - The array that is returned is the stack itself, and the next step changes it in place, for every shape and axis. In
#   the usual loop, `after = env.step(action)[0]; memory.add(before, action, after); before = after`, before and after
#   are one array, and each stored transition leads from a state to itself.
#
# Shapes, types and spaces are as expected, so nothing complains. The project says that it is semi-deprecated.
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 gymnasium==1.4.0 pettingzoo==1.26.0 supersuit==3.11.0
cat >stack.py <<'CODE'
import gymnasium
import numpy as np
from supersuit import frame_stack_v1, frame_stack_v2


class Clock(gymnasium.Env):
    """All values of an observation are the number of the step, which begins at 1."""

    action_space = gymnasium.spaces.Discrete(1)

    def __init__(self, shape):
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)

    def observation(self):
        return np.full(self.observation_space.shape, self.time, np.uint8), {}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 1
        return self.observation()

    def step(self, action):
        self.time += 1
        observation, info = self.observation()
        return observation, 0.0, False, False, info


for wrapper in frame_stack_v1, frame_stack_v2:
    for shape, axis in ((5,), -1), ((5, 5), -1), ((5, 5), 0), ((1, 5, 5), 0):
        env = wrapper(Clock(shape), 4, axis)
        before = env.reset()[0]  # a true step 7 is 3 4 5 6 -> 4 5 6 7
        for _ in range(6):
            after = env.step(0)[0]
            transition, before = (before, after), after
        assert after.shape == env.observation_space.shape
        frames = [o[0, 0] if (len(shape), axis) == (2, -1) else o.reshape(4, -1)[:, 0] for o in transition]
        print(f"{wrapper.__name__}, {len(shape)} axes, stack_dim={axis}: step 7 is stored as",
              *frames[0], "->", *frames[1])
CODE
seen=$(venv/bin/python -W ignore stack.py)
echo "$seen"
wanted="frame_stack_v1, 1 axes, stack_dim=-1: step 7 is stored as 4 5 6 7 -> 4 5 6 7
frame_stack_v1, 2 axes, stack_dim=-1: step 7 is stored as 4 5 6 7 -> 4 5 6 7
frame_stack_v1, 2 axes, stack_dim=0: step 7 is stored as 7 7 7 0 -> 7 7 7 0
frame_stack_v1, 3 axes, stack_dim=0: step 7 is stored as 4 5 6 7 -> 4 5 6 7
frame_stack_v2, 1 axes, stack_dim=-1: step 7 is stored as 4 5 6 7 -> 4 5 6 7
frame_stack_v2, 2 axes, stack_dim=-1: step 7 is stored as 4 5 6 7 -> 4 5 6 7
frame_stack_v2, 2 axes, stack_dim=0: step 7 is stored as 7 7 7 0 -> 7 7 7 0
frame_stack_v2, 3 axes, stack_dim=0: step 7 is stored as 4 5 6 7 -> 4 5 6 7"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
