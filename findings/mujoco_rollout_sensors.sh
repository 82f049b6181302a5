#!/usr/bin/env bash
# mujoco-core 4.0.0: mujoco.rollout returns states and sensor values that are one step apart. At index t the state is
# that after step t + 1, the sensors that before it, which is the state at index t - 1.
#
# mj_step computes the sensors first and moves the state last, and rollout copies both when the step has ended. A
# policy that reads the sensors so acts on an observation one step old. Compute observations from the state, or call
# mj_forward before reading.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q mujoco-core==4.0.0
cat >lag.py <<'CODE'
import mujoco
import numpy
from mujoco import rollout

MODEL = """<mujoco><option integrator="{}" timestep="0.01" gravity="0 0 -10"/>
  <worldbody><body><joint name="j" type="slide" axis="0 0 1"/><geom size="0.1" mass="1"/></body></worldbody>
  <sensor><jointpos joint="j"/></sensor></mujoco>"""
for integrator in "Euler", "RK4", "implicitfast":
    model = mujoco.MjModel.from_xml_string(MODEL.format(integrator))
    data = mujoco.MjData(model)
    start = numpy.zeros(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
    states, sensors = rollout.rollout(model, data, start[None], nstep=4)
    position, sensor = states[0, :, 1], sensors[0, :, 0]  # state: time, then joint positions
    assert position[0] < 0 and (numpy.diff(position) < 0).all()
    print(f"{integrator}: the sensor is",
          "that of the state before" if (sensor[1:] == position[:-1]).all() else
          "that of the state" if (sensor == position).all() else "another")
CODE
seen=$(venv/bin/python lag.py)
echo "$seen"
wanted="Euler: the sensor is that of the state before
RK4: the sensor is that of the state before
implicitfast: the sensor is that of the state before"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
