#!/usr/bin/env bash
# gymnasium 1.4.0 and ale-py 0.12.1: the last observation of an Atari episode does not show the screen on which it ends.
#
# Of each step's four screens AtariPreprocessing and AtariVectorEnv return the pixelwise maximum of the last two. A step
# in which the episode ends, or is cut by max_num_frames_per_episode, leaves out the screen with which it ends:
#
# - If that is the fourth, as at each limit that is a multiple of 4, the default of 108000 among them, the observation
#   is the previous one with the third screen laid over it: ball and paddles are in two places, 3 frames apart.
# - If it is an earlier one, the observation is the previous one, unchanged.
#
# At a cut an agent bootstraps from the value of this observation. The documentation of AtariPreprocessing promises the
# last two screens of a step.
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 gymnasium==1.4.0 ale-py==0.12.1 opencv-python-headless==5.0.0.93
cat >last.py <<'CODE'
import ale_py
import gymnasium
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.wrappers import AtariPreprocessing

ACTION = 2
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
gymnasium.register_envs(ale_py)


def last_of_gymnasium(limit):
    env = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0, max_num_frames_per_episode=limit)
    env = AtariPreprocessing(env, noop_max=0, screen_size=(160, 210))
    env.reset(seed=0)
    while True:
        observation, _, terminated, truncated, _ = env.step(ACTION)
        if terminated or truncated:
            return observation, terminated


def last_of_ale(limit):
    env = AtariVectorEnv("pong", 1, max_num_frames_per_episode=limit, autoreset_mode="SameStep", noop_max=0,
                         use_fire_reset=False, img_height=210, img_width=160, num_threads=1)
    env.reset(seed=0)
    while True:
        _, _, terminated, truncated, info = env.step(np.array([ACTION]))
        if terminated[0] or truncated[0]:
            return info["final_obs"][0, -1], terminated[0]


def screens(limit):
    """The screens of the same episode, by the emulator itself."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(ale_py.roms.get_rom_path("pong"))
    ale.reset_game()
    result = [ale.getScreenGrayscale()]
    while len(result) <= limit and not ale.game_over():
        ale.act(ale.getMinimalActionSet()[ACTION])
        result.append(ale.getScreenGrayscale())
    return result


for limit in 1000, 1001, 1002, 1003, 108000:
    screen = screens(limit)
    end = len(screen) - 1
    step = (end - 1) // 4 * 4  # the screen before the last step
    known = {
        "the last two screens": (end - 1, end),
        "the previous observation": (step - 1, step),
        "the previous observation and the third screen": (step - 1, step, step + 3),
    }
    for name, last in ("AtariPreprocessing", last_of_gymnasium), ("AtariVectorEnv", last_of_ale):
        observation, terminated = last(limit)
        shown = [words for words, indices in known.items()
                 if indices[-1] <= end and np.array_equal(observation, np.max([screen[i] for i in indices], 0))]
        print(f"{name}, {'ended' if terminated else 'cut'} in screen {end - step} of a step, frame {end}:", *shown)
CODE
seen=$(venv/bin/python -W ignore last.py)
echo "$seen"
wanted="AtariPreprocessing, cut in screen 4 of a step, frame 1000: the previous observation and the third screen
AtariVectorEnv, cut in screen 4 of a step, frame 1000: the previous observation and the third screen
AtariPreprocessing, cut in screen 1 of a step, frame 1001: the previous observation
AtariVectorEnv, cut in screen 1 of a step, frame 1001: the previous observation
AtariPreprocessing, cut in screen 2 of a step, frame 1002: the previous observation
AtariVectorEnv, cut in screen 2 of a step, frame 1002: the previous observation
AtariPreprocessing, cut in screen 3 of a step, frame 1003: the previous observation
AtariVectorEnv, cut in screen 3 of a step, frame 1003: the previous observation
AtariPreprocessing, ended in screen 4 of a step, frame 3056: the previous observation and the third screen
AtariVectorEnv, ended in screen 4 of a step, frame 3056: the previous observation and the third screen"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
