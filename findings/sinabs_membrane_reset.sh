#!/usr/bin/env bash
# sinabs 3.1.3: MembraneReset(reset_value=v) adds v to the membrane potential of each neuron in each step, whether it
# has spiked or not. According to its documentation the potential becomes v after a spike.
#
# Only at the default, 0, are both the same. With a value above 0 a neuron without input may spike for ever; with one
# below 0 a neuron sinks without limit and is silent. Nothing reports an error.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder. It leaves out samna, which sinabs asks
# for to drive chips.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 matplotlib==3.11.2 pbr==7.1.3 nir==1.0.4 nirtorch==2.0.2
venv/bin/pip install -q --no-deps sinabs==3.1.3
cat >reset.py <<'CODE'
import torch
from sinabs.activation import MembraneReset
from sinabs.layers import IAF, LIF

NEURONS = {"LIF": lambda **options: LIF(tau_mem=10.0, norm_input=False, **options),
           "IAF": lambda **options: IAF(min_v_mem=None, **options)}
for value in 0.0, 0.25, -0.25:
    for name, make in NEURONS.items():
        neuron = make(reset_fn=MembraneReset(reset_value=value), record_states=True)
        with torch.no_grad():
            spikes = neuron(torch.zeros(1, 12, 1)).flatten()
        potential = " ".join(f"{v:.2f}" for v in neuron.recordings["v_mem"].flatten()[[0, 1, 2, 11]])
        print(f"{name} without input, reset_value={value}: {spikes.sum():.0f} spikes,",
              f"v_mem after steps 1, 2, 3, 12: {potential}")
CODE
seen=$(venv/bin/python -W ignore reset.py)
echo "$seen"
wanted="LIF without input, reset_value=0.0: 0 spikes, v_mem after steps 1, 2, 3, 12: 0.00 0.00 0.00 0.00
IAF without input, reset_value=0.0: 0 spikes, v_mem after steps 1, 2, 3, 12: 0.00 0.00 0.00 0.00
LIF without input, reset_value=0.25: 1 spikes, v_mem after steps 1, 2, 3, 12: 0.25 0.48 0.68 1.19
IAF without input, reset_value=0.25: 2 spikes, v_mem after steps 1, 2, 3, 12: 0.25 0.50 0.75 1.00
LIF without input, reset_value=-0.25: 0 spikes, v_mem after steps 1, 2, 3, 12: -0.25 -0.48 -0.68 -1.84
IAF without input, reset_value=-0.25: 0 spikes, v_mem after steps 1, 2, 3, 12: -0.25 -0.50 -0.75 -3.00"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
