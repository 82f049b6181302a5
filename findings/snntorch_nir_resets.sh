#!/usr/bin/env bash
# snnTorch 1.0.0 and NIR 1.0.8: a network of default Leaky neurons, exported to NIR and imported again, is another one.
#
# NIR's LIF and CubaLIF set the potential of a neuron that spikes to v_reset. snnTorch's default subtracts the threshold, one
# step later; export writes v_reset = 0 whatever the reset is, and import makes neurons that reset to zero in the
# step of the spike. No reset at all, and a graded_spikes_factor, are lost too. Nothing warns. Of the resets below only one
# to zero comes back with the outputs it had, and of Synaptic neurons none of these.
#
# Compare the outputs of a network before and after each conversion, over many steps with many spikes.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy snntorch==1.0.0 nir==1.0.8 nirtorch==2.6
cat >round_trip.py <<'CODE'
import contextlib
import io

import nir
import torch
from snntorch import Leaky, Synaptic
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir

NEURONS = 8
torch.manual_seed(0)
inputs = 2 * torch.rand(200, 1, 3)


def each(value):
    return torch.full((NEURONS,), value)


@torch.no_grad()
def outputs(network):
    state, seen = None, []
    for x in inputs:
        result = network(x) if state is None else network(x, state)
        result, state = result if isinstance(result, tuple) else (result, None)
        seen.append(result)
    return torch.stack(seen)


RATES = {Leaky: {"beta": each(0.9)}, Synaptic: {"alpha": each(0.3), "beta": each(0.8)}}
OPTIONS = [{}, {"reset_delay": False}, {"reset_mechanism": "none"}, {"reset_mechanism": "zero"}]
for kind, all_options in (Leaky, [*OPTIONS, {"graded_spikes_factor": each(2.0)}]), (Synaptic, OPTIONS):
    for options in all_options:
        neurons = kind(**RATES[kind], **options, threshold=each(1.0), init_hidden=True)
        network = torch.nn.Sequential(torch.nn.Linear(3, NEURONS), neurons, torch.nn.Linear(NEURONS, 2))
        before = outputs(network)
        nir.write("network.nir", export_to_nir(network, inputs[0, 0]))
        with contextlib.redirect_stdout(io.StringIO()):
            again = import_from_nir(nir.read("network.nir"))
        same = torch.allclose(outputs(again), before, atol=1e-5)
        text = ", ".join(f"{name}={'2' if torch.is_tensor(value) else value}" for name, value in options.items())
        print(f"{kind.__name__}({text}):", "the same outputs" if same else "other outputs")
CODE
seen=$(venv/bin/python -W ignore round_trip.py)
echo "$seen"
wanted="Leaky(): other outputs
Leaky(reset_delay=False): other outputs
Leaky(reset_mechanism=none): other outputs
Leaky(reset_mechanism=zero): the same outputs
Leaky(graded_spikes_factor=2): other outputs
Synaptic(): other outputs
Synaptic(reset_delay=False): other outputs
Synaptic(reset_mechanism=none): other outputs
Synaptic(reset_mechanism=zero): other outputs"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
