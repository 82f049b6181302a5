#!/usr/bin/env bash
# minigrid 3.2.0: MiniGrid-MemoryS7 and MemoryS9, tasks made to test memory, can be solved by a policy without any.
#
# The agent should remember an object of the start room until it meets two objects at the end of the corridor. But it
# sees seven cells ahead and three to each side, and the walls do not hide the objects from all cells: from some, one
# observation has all three. In S7 and S9 such cells exist in every maze, and the agent stands on one already in every fourth and
# every sixth episode, since it starts anywhere in the corridor. In S11 and S13 no such cell exists, but among the
# mazes of random length (S13Random) are short ones.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q minigrid==3.2.0 gymnasium==1.4.0
cat >see.py <<'CODE'
import gymnasium
import minigrid  # noqa: F401 (registers the environments)
import numpy
from minigrid.core.constants import OBJECT_TO_IDX

OBJECTS = [OBJECT_TO_IDX["key"], OBJECT_TO_IDX["ball"]]
SEEDS = 60


def all_seen(observation):
    return numpy.isin(observation["image"][:, :, 0], OBJECTS).sum() == 3


def cells(env):
    """Does any free cell show all three objects, whichever way the agent looks?"""
    start = env.agent_pos, env.agent_dir
    seen = False
    for x in range(1, env.width - 1):
        for y in range(1, env.height - 1):
            for direction in range(4):
                if env.grid.get(x, y) is None:
                    env.agent_pos, env.agent_dir = (x, y), direction
                    seen = seen or all_seen(env.gen_obs())
    env.agent_pos, env.agent_dir = start
    return seen


for name in "S7", "S9", "S11", "S13", "S13Random":
    env = gymnasium.make(f"MiniGrid-Memory{name}-v0")
    at_once = sum(all_seen(env.reset(seed=seed)[0]) for seed in range(SEEDS))
    somewhere = []
    for seed in range(30):
        env.reset(seed=seed)
        somewhere.append(cells(env.unwrapped))
    print(f"{name}: one observation shows all in {'all' if all(somewhere) else 'some' if any(somewhere) else 'no'} "
          f"mazes, the first one in {'some' if at_once else 'no'} episodes")
CODE
seen=$(venv/bin/python see.py)
echo "$seen"
wanted="S7: one observation shows all in all mazes, the first one in some episodes
S9: one observation shows all in all mazes, the first one in some episodes
S11: one observation shows all in no mazes, the first one in no episodes
S13: one observation shows all in no mazes, the first one in no episodes
S13Random: one observation shows all in some mazes, the first one in some episodes"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
