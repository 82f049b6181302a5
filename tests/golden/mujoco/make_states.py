"""Makes states.json: states that MuJoCo's Python package simulates from the models of our tasks.

python tests/golden/mujoco/make_states.py -o tests/golden/mujoco/states.json

The models are read from the sources of the tasks; nothing else of ours is used. The controls are smooth
and push the pendulum upright, over, and into the limits of both joints, and the hopper's foot onto the
ground and off it.
"""

import argparse
import json
import math
import pathlib
import re

import mujoco

TASKS = pathlib.Path(__file__).resolve().parents[3] / "stpn/tasks/mujoco"


def model_of(task):
    return re.search(r'R"\((<mujoco.*?)\)"', (TASKS / f"{task}.cc").read_text(), re.DOTALL)[1]


def pendulum_control(t):
    return [2 * math.sin(0.3 * t) + math.sin(0.071 * t)]


def hopper_control(t):
    return [0.6 * math.sin(0.11 * t), -0.8 * math.sin(0.07 * t), 0.5 * math.cos(0.13 * t)]


def simulate(task, physics_steps, steps, control):
    text = model_of(task)
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    data.qpos[:] = model.qpos0 + [0.004 * math.cos(k) for k in range(model.nq)]
    data.qvel[:] = [0.004 * math.sin(k) for k in range(model.nv)]
    qpos, qvel, controls = [data.qpos.tolist()], [data.qvel.tolist()], []
    for t in range(steps):
        controls.append(control(t))
        data.ctrl[:] = controls[-1]
        mujoco.mj_step(model, data, nstep=physics_steps)
        qpos.append(data.qpos.tolist())
        qvel.append(data.qvel.tolist())
    return {"task": task, "physics_steps": physics_steps, "model": text, "controls": controls,
            "qpos": qpos, "qvel": qvel}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", required=True)
    out = parser.parse_args().out
    golden = {"mujoco": mujoco.__version__,
              "sequences": [simulate("inverted_pendulum", 2, 200, pendulum_control),
                            simulate("hopper", 4, 200, hopper_control)]}
    pathlib.Path(out).write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
