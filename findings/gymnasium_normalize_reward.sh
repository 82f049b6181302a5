#!/usr/bin/env bash
# gymnasium 1.4.0: the discounted return by which NormalizeReward scales rewards does not follow the episodes. A reset
# does not clear it. Where an episode terminates, it is cleared before the last reward, which so counts as the first
# of the next episode; where a time limit cuts the episode, it is not cleared at all.
#
# So with a time limit and a discount of 1 the estimated variance grows for ever and the rewards shrink. The script
# gives a reward of 1 in episodes of 3 steps, with a discount of 1: the return should run 1, 2, 3, 1, 2, 3. In
# stable-baselines3 2.9.2, VecNormalize does that.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q gymnasium==1.4.0
cat >returns.py <<'CODE'
import gymnasium
import numpy
from gymnasium.wrappers import NormalizeReward, TimeLimit


class Ones(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length):
        self.length = length

    def reset(self, seed=None, options=None):
        self.steps = 0
        return numpy.zeros(1, numpy.float32), {}

    def step(self, action):
        self.steps += 1
        return numpy.zeros(1, numpy.float32), 1.0, self.steps == self.length, False, {}


for name, env in ("terminated", Ones(3)), ("truncated", TimeLimit(Ones(None), 3)):
    env = NormalizeReward(env, gamma=1.0)
    returns = []
    for _ in range(3):
        env.reset()
        ended = False
        while not ended:
            _, _, terminated, truncated, _ = env.step(0)
            returns.append(int(env.discounted_reward.item()))
            ended = terminated or truncated
    print(f"{name}:", *returns)
CODE
seen=$(venv/bin/python returns.py)
echo "$seen"
wanted="terminated: 1 2 1 2 3 1 2 3 1
truncated: 1 2 3 4 5 6 7 8 9"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
