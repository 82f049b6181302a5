#!/usr/bin/env bash
# norse 1.1.0: parameters of its plasticity that do nothing, or something else.
#
# - stdp_sensor_step has a time constant for correlations, tau_c_inv, and one for anti-correlations, tau_ac_inv. The second
#   is never read: both traces decay with the first.
# - In stdp_step_linear a_pre is "the contribution of a spike to the trace", but the trace rises by a_pre dt / tau, 0.02 with
#   the defaults. So half the time step, with the same spikes, is half the learning.
# - stp_step (Tsodyks-Makram) never reads tau_s_inv, the synaptic time constant: what it returns has no time course.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps norse==1.1.0
cat >run.py <<'CODE'
import importlib
import pathlib
import sys
import sysconfig
import types

import torch

# Only the functions at hand, without norse's own __init__.py.
root = pathlib.Path(sysconfig.get_paths()["purelib"], "norse")
for name in "norse", "norse.torch", "norse.torch.functional":
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package
sensor = importlib.import_module("norse.torch.functional.stdp_sensor")
stdp = importlib.import_module("norse.torch.functional.stdp")
stp = importlib.import_module("norse.torch.functional.tsodyks_makram")

one, none = torch.ones(1), torch.zeros(1)


def traces(**constants):
    state = sensor.STDPSensorState(none, none)
    for t in range(20):
        spike = one if t == 0 else none
        state = sensor.stdp_sensor_step(spike, spike, state, sensor.STDPSensorParameters(**constants))
    return float(state.a_pre), float(state.a_post)


before = traces()
for name in "tau_c_inv", "tau_ac_inv":
    after = traces(**{name: torch.tensor(100.0)})
    print(f"stdp_sensor_step: {name} changes the trace of",
          " and ".join(which for which, a, b in zip(("pre", "post"), before, after) if a != b) or "neither")


def learnt(dt, steps):
    state, w = stdp.STDPState(torch.zeros(1, 1), torch.zeros(1, 1)), torch.full((1, 1), 0.5)
    parameters = stdp.STDPParameters()
    for t in range(steps):  # a presynaptic spike at the beginning, a postsynaptic one after 10 ms
        pre, post = float(t == 0), float(t == steps - 1)
        w, state = stdp.stdp_step_linear(torch.full((1, 1), pre), torch.full((1, 1), post), w, state, parameters, dt=dt)
        if t == 0:
            first = float(state.t_pre)
    return first, float(w) - 0.5


(trace, change), (_, finer) = learnt(1e-3, 11), learnt(0.5e-3, 21)
print(f"stdp_step_linear: a spike leaves {trace:.3f} in a trace of a_pre = 1; with half the time step a pair of spikes "
      f"changes the weight {finer / change:.1f} times as much")

state = stp.TsodyksMakramState(u=none, x=one)
same = all(torch.equal(stp.stp_step(one, state, stp.TsodyksMakramParameters(tau_s_inv=a))[0],
                       stp.stp_step(one, state, stp.TsodyksMakramParameters())[0]) for a in (1.0, 1000.0))
print("stp_step: tau_s_inv", "changes nothing" if same else "matters")
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="stdp_sensor_step: tau_c_inv changes the trace of pre and post
stdp_sensor_step: tau_ac_inv changes the trace of neither
stdp_step_linear: a spike leaves 0.020 in a trace of a_pre = 1; with half the time step a pair of spikes changes the weight 0.5 times as much
stp_step: tau_s_inv changes nothing"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
