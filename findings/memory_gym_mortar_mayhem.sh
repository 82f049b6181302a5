#!/usr/bin/env bash
# memory-gym 1.0.2: Mortar Mayhem takes the last command as obeyed, and Endless Mortar Mayhem first shows the agent where
# it stood at the end of the last episode.
#
# - In Mortar Mayhem, with a grid or without, an episode ends as soon as a tile is missed. Where that is the tile of the
#   last command, the episode still counts as a success: info["success"] is 1 and info["commands_completed"] is 1. So with
#   one command an agent that never moves always succeeds, although it gets a reward only where the command is to stay.
# - In Endless Mortar Mayhem the screen of reset() has the agent where it is. While the command is shown, in the steps
#   after that, the screens of each episode but the first have it where it was when the episode before ended.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 gymnasium==0.29.0 pygame==2.4.0 memory-gym==1.0.2
cat >run.py <<'CODE'
import gymnasium as gym
import memory_gym  # noqa: F401
import numpy as np

for name, stay in ("MortarMayhem-v0", [0, 0]), ("MortarMayhem-Grid-v0", 0), ("MortarMayhemB-Grid-v0", 0):
    env = gym.make(name, disable_env_checker=True)
    rewards, successes, completed = [], [], []
    for seed in range(30):
        env.reset(seed=seed, options={"command_count": [1]})
        done = False
        while not done:
            _, _, done, _, info = env.step(stay)
        rewards.append(info["reward"])
        successes.append(info["success"])
        completed.append(info["commands_completed"])
    print(f"{name}: who stands still is rewarded in {np.count_nonzero(rewards)} of 30 episodes, is a success in "
          f"{sum(successes)}, and has completed {np.mean(completed):.0%} of the commands")

env = gym.make("Endless-MortarMayhem-v0", disable_env_checker=True)


def place(screen):
    """The middle of what has the colour of the agent's body."""
    x, y = np.argwhere((screen == [250, 204, 153]).all(-1)).mean(0)
    return f"{x:.0f},{y:.0f}"


for seed in range(3):
    places = [place(env.reset(seed=seed)[0])] + [place(env.step([2, 2])[0]) for _ in range(6)]
    print(f"Endless-MortarMayhem-v0, episode {seed + 1}: the agent is seen at", *places)
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="MortarMayhem-v0: who stands still is rewarded in 6 of 30 episodes, is a success in 30, and has completed 100% of the commands
MortarMayhem-Grid-v0: who stands still is rewarded in 10 of 30 episodes, is a success in 30, and has completed 100% of the commands
MortarMayhemB-Grid-v0: who stands still is rewarded in 10 of 30 episodes, is a success in 30, and has completed 100% of the commands
Endless-MortarMayhem-v0, episode 1: the agent is seen at 76,7 76,7 76,7 76,7 78,8 79,10 80,12
Endless-MortarMayhem-v0, episode 2: the agent is seen at 34,78 80,12 80,12 80,12 36,79 38,80 40,81
Endless-MortarMayhem-v0, episode 3: the agent is seen at 76,5 40,81 40,81 40,81 77,6 79,8 80,10"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
