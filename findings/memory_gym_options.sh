#!/usr/bin/env bash
# memory-gym 1.0.2: options of reset() that outlive the episode or do nothing, and a last action that is the one before.
#
# - In Searing Spotlights, black_background and hide_chessboard paint over the background that the environment keeps. Each
#   later episode has it too, also with reset() and no options.
# - The intervals between spotlights shrink by spawn_interval_decay (0.95 by default). They do not: the list of intervals
#   is used up from its other end, so that each is as long as the first.
# - With show_last_action the top bar of a screen shows, as two colours, the last action. The screen that step(a) returns
#   does not show a, but the action of the step before: an agent never sees what it did last.
# - In Endless Mystery Path show_origin changes nothing.
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

env = gym.make("SearingSpotlights-v0", disable_env_checker=True)


def background(**options):
    """The mean brightness of the first screen, without spotlights."""
    return env.reset(seed=1, options={"initial_spawns": 0, "num_spawns": 0, **options})[0].mean()


print("mean of the first screen: {:.0f}, with a black background {:.0f}, without options again {:.0f}".format(
    background(), background(black_background=True), background()))

env = gym.make("SearingSpotlights-v0", disable_env_checker=True)
for decay in 0.95, 0.5:
    env.reset(seed=1, options={"initial_spawns": 0, "agent_health": 10000, "spawn_interval_decay": decay})
    known, steps = [], []
    for t in range(1, 210):
        env.step([0, 0])
        for spot in env.unwrapped.spotlights:
            if not any(spot is other for other in known):
                known.append(spot)
                steps.append(t)
    print(f"spotlights with spawn_interval_decay {decay} come in steps", *steps)

env.reset(seed=1)
colours = {(120, 120, 120): "none", (116, 1, 113): "left", (255, 94, 14): "right"}
for name, action in ("left", [1, 0]), ("right", [2, 0]), ("none", [0, 0]), ("none", [0, 0]):
    screen = env.step(action)[0]
    print(f"after the action {name} the bar shows {colours[tuple(int(v) for v in screen[44, 1])]}")

env = gym.make("Endless-MysteryPath-v0", disable_env_checker=True)
screens = [env.reset(seed=1, options={"show_origin": show})[0] for show in (False, True)]
print("show_origin in Endless Mystery Path:", "no difference" if (screens[0] == screens[1]).all() else "seen")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="mean of the first screen: 165, with a black background 7, without options again 7
spotlights with spawn_interval_decay 0.95 come in steps 40 80 120 160 200
spotlights with spawn_interval_decay 0.5 come in steps 40 80 120 160 200
after the action left the bar shows none
after the action right the bar shows left
after the action none the bar shows right
after the action none the bar shows none
show_origin in Endless Mystery Path: no difference"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
