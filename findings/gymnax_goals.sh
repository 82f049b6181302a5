#!/usr/bin/env bash
# gymnax 1.0.1: goals that end an episode by chance or pay a step late, times beyond their range, agents drawn in walls.
#
# - In MetaMaze the agent that reaches the goal is put on a random cell. Only then it is tested whether it is at the
#   goal. So an episode in which the goal is found goes on, to its limit of 200 steps, unless that random cell is the
#   goal itself: one time in 65 it ends, as terminated. Also an agent may start at the goal, and gets nothing for that.
# - With normalize_time MetaMaze and PointRobot show the time from -1 to 1. They take an episode for 100 steps long,
#   whatever max_steps_in_episode is: with 200, the default of MetaMaze, the time goes up to 3.
# - PointRobot gives its reward for where the agent was before the step. Whoever comes to the goal gets nothing, and in
#   the next step 1, also if it goes away from the goal.
# - With use_visual_obs the picture of FourRooms has rows and columns of the agent swapped, but not those of the walls:
#   from some cells the agent is seen in a wall.
# - StickyActionWrapper starts an episode with the action 0 as the last one. With the reset that step() does by itself
#   it is the last action of the episode before.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 gymnasium==1.3.0 six==1.17.0 gymnax==1.0.1
cat >run.py <<'CODE'
import gymnax
import jax
import jax.numpy as jnp
from gymnax.environments.misc.rooms import FourRooms
from gymnax.wrappers import StickyActionWrapper

keys = jax.random.split(jax.random.key(1), 20000)

env, params = gymnax.make("MetaMaze-misc")


def find_goal(key):
    """One step up, from the start to a goal beside it."""
    _, state = env.reset(key, params)
    state = state.replace(goal=state.pos + jnp.array([-1, 0]))
    _, _, reward, terminated, _, _ = env.step(key, state, 0, params)
    return reward, terminated


rewards, ends = jax.vmap(find_goal)(keys)
print(f"MetaMaze: {(rewards == 10).mean():.0%} of steps to the goal get 10, {ends.mean():.1%} of them end the episode")


def starts_at_goal(key):
    _, state = env.reset(key, params)
    return (state.pos == state.goal).all()


print(f"MetaMaze: {jax.vmap(starts_at_goal)(keys).mean():.1%} of episodes start at the goal")

for name, action in ("MetaMaze-misc", 0), ("PointRobot-misc", jnp.zeros(2)):
    env, params = gymnax.make(name)
    params = params.replace(normalize_time=True, max_steps_in_episode=200)
    _, state = env.reset(keys[0], params)
    for key in keys[:200]:
        _, state, _, terminated, truncated, info = env.step(key, state, action, params)
    assert truncated and not terminated
    print(f"{name}: after the last of 200 steps the normalized time is {info['final_observation'][-1]:.1f}")

env, params = gymnax.make("PointRobot-misc")
for text, distance, move in ("to the goal", 0.25, 0.1), ("from the goal", 0.15, -0.1):
    _, state = env.reset(keys[0], params)
    outwards = state.goal / jnp.linalg.norm(state.goal)
    state = state.replace(pos=state.goal - distance * outwards)
    position = state.pos + move * outwards
    _, _, reward, _, _, _ = env.step(keys[0], state, move * outwards, params)
    print(f"PointRobot: a step {text}, from a distance of {distance} to", end=" ")
    print(f"{jnp.linalg.norm(position - state.goal):.2f} (it counts up to {params.goal_radius}) gets {reward:.0f}")

env = FourRooms(use_visual_obs=True)
_, state = env.reset(keys[0], env.default_params)
right, walls = 0, 0
for cell in env.coords:
    screen = env.get_obs(state.replace(pos=cell))
    right += int(screen[cell[0], cell[1], 1])
    walls += int((screen[..., 0] * screen[..., 1]).sum())
print(f"FourRooms: of {len(env.coords)} cells the agent is seen where it is from {right}, and in a wall from {walls}")

env, params = gymnax.make("Catch-bsuite")
sticky = StickyActionWrapper(env, 0.5)


def first_step(key, reset):
    """Where the paddle goes in the first step of an episode without an own move, after one of moves to the right."""
    _, state = sticky.reset(key, params)
    for t in range(9):
        _, state, _, terminated, _, _ = sticky.step(jax.random.fold_in(key, t), state, 2, params)
    if reset:
        _, state = sticky.reset(key, params)
    _, after, *_ = sticky.step(jax.random.fold_in(key, 9), state, 1, params)
    return terminated, after.env_state.paddle_x - state.env_state.paddle_x


for text, reset in ("reset()", True), ("the reset by step()", False):
    terminated, moves = jax.vmap(lambda key: first_step(key, reset))(keys)
    assert terminated.all()
    print(f"StickyAction: after {text} the first step goes to the left, nowhere, to the right in",
          *(f"{(moves == move).mean():.0%}" for move in (-1, 0, 1)))
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="MetaMaze: 100% of steps to the goal get 10, 1.6% of them end the episode
MetaMaze: 1.4% of episodes start at the goal
MetaMaze-misc: after the last of 200 steps the normalized time is 3.0
PointRobot-misc: after the last of 200 steps the normalized time is 3.0
PointRobot: a step to the goal, from a distance of 0.25 to 0.15 (it counts up to 0.2) gets 0
PointRobot: a step from the goal, from a distance of 0.15 to 0.25 (it counts up to 0.2) gets 1
FourRooms: of 104 cells the agent is seen where it is from 9, and in a wall from 9
StickyAction: after reset() the first step goes to the left, nowhere, to the right in 51% 49% 0%
StickyAction: after the reset by step() the first step goes to the left, nowhere, to the right in 0% 49% 50%"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
