#!/usr/bin/env bash
# norse 1.1.0: steps of neurons that leave out dt, a refractory period without effect, and states that change afterwards.
#
# - SequentialState writes the new states into the list that it is given. So the state that one kept, to go on from it
#   once more, has become the next one, although each state in it is a tuple that cannot change.
# - lif_adex_current_encoder replaces the adaptation by its derivative: it neither adds it up nor multiplies by dt. Called
#   with the same voltage each time, it swings ever further; lif_adex_feed_forward_step is right.
# - The time constant of LSNN's threshold is 800 s by default, next to 5 and 10 ms of the others: in a second it loses a
#   thousandth of what a spike has added.
# - lif_mc_refrac_step adds the voltages of coupled compartments whole, where lif_mc_step multiplies by dt: 1000 times as
#   much. And with that input a neuron spikes in every step of its refractory period.
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

# Only the modules at hand, without norse's own __init__.py.
root = pathlib.Path(sysconfig.get_paths()["purelib"], "norse")
for name in "norse", "norse.torch", "norse.torch.functional", "norse.torch.module", "norse.torch.utils":
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package
lif, adex, lsnn, mc, mc_refrac, refrac = (importlib.import_module(f"norse.torch.functional.{name}") for name in (
    "lif", "lif_adex", "lsnn", "lif_mc", "lif_mc_refrac", "lif_refrac"))
cells = importlib.import_module("norse.torch.module.leaky_integrator")
sequential = importlib.import_module("norse.torch.module.sequential")

net = sequential.SequentialState(cells.LICell())
_, kept = net(torch.ones(1, 1))
first, _ = net(torch.ones(1, 1), kept)
again, _ = net(torch.ones(1, 1), kept)
print(f"SequentialState: two steps from the same state give {first.item():.3f} and {again.item():.3f}")

p = adex.LIFAdExParameters(tau_ada_inv=torch.tensor(2.0), adaptation_current=torch.tensor(4.0))
seen = []
adaptation = torch.zeros(1)
for _ in range(5):
    adaptation = adex.lif_adex_current_encoder(torch.zeros(1), torch.full((1,), 0.5), adaptation, p)[2]
    seen.append(f"{adaptation.item():.2f}")
print("lif_adex_current_encoder, voltage 0.5: adaptation", *seen)
seen = []
state = adex.LIFAdExFeedForwardState(torch.full((1,), 0.5), torch.zeros(1), torch.zeros(1))
for _ in range(5):
    state = adex.lif_adex_feed_forward_step(torch.zeros(1), state, p)[1]._replace(v=torch.full((1,), 0.5))
    seen.append(f"{state.a.item():.3f}")
print("lif_adex_feed_forward_step, voltage 0.5: adaptation", *seen)

state = lsnn.LSNNFeedForwardState(torch.zeros(1), torch.zeros(1), torch.full((1,), 2.8))
for _ in range(1000):
    state = lsnn.lsnn_feed_forward_step(torch.zeros(1), state)[1]
print(f"LSNN: of the 1.8 that a spike adds to the threshold {state.b.item() - 1:.3f} are left after 1 s")

zero, weights, coupling = torch.zeros(1, 2), torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
state = lif.LIFState(zero, torch.tensor([[0.0, 0.5]]), zero)
far = mc.lif_mc_step(zero, state, weights, weights, coupling)[1].v[0, 0]
near = mc_refrac.lif_mc_refrac_step(zero, refrac.LIFRefracState(state, zero), weights, weights, coupling)[1].lif.v[0, 0]
print(f"a voltage of 0.5 in the other compartment adds {far:.4f} in lif_mc_step and {near:.4f} in lif_mc_refrac_step")
state, spikes = refrac.LIFRefracState(lif.LIFState(zero, torch.tensor([[0.0, 50.0]]), zero), torch.full((1, 2), 5.0)), []
for _ in range(4):
    state = state._replace(lif=state.lif._replace(v=torch.tensor([[0.0, 50.0]])))
    z, state = mc_refrac.lif_mc_refrac_step(zero, state, weights, weights, coupling)
    spikes.append(int(z[0, 0]))
print("lif_mc_refrac_step, from 5 steps of refractory period on: spikes", *spikes)
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="SequentialState: two steps from the same state give 0.270 and 0.487
lif_adex_current_encoder, voltage 0.5: adaptation 3.75 -6.74 13.51 -34.08 68.18
lif_adex_feed_forward_step, voltage 0.5: adaptation 0.004 0.008 0.012 0.016 0.020
LSNN: of the 1.8 that a spike adds to the threshold 1.798 are left after 1 s
a voltage of 0.5 in the other compartment adds 0.0005 in lif_mc_step and 0.5000 in lif_mc_refrac_step
lif_mc_refrac_step, from 5 steps of refractory period on: spikes 1 1 1 1"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
