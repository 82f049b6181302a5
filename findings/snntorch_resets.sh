#!/usr/bin/env bash
# snnTorch 1.0.0: the same reset is another one in another class of neuron.
#
# With reset_mechanism="zero" a Leaky neuron that has spiked begins the next step at 0 and adds that step's input. An
# RLeaky neuron whose recurrent weight is 0, and so is the same neuron by its equation, ends the next step at 0: the input
# of that step is lost, and later spikes differ. Synaptic and RSynaptic lose it too. With "subtract" and with "none"
# Leaky and RLeaky agree. With reset_delay=False, which resets in the step of the spike, Leaky and RLeaky agree too, and
# RSynaptic takes no notice of it: no error, the delayed reset.
#
# Compare neurons of two classes only after looking at a single one of each, step by step.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy snntorch==1.0.0
cat >resets.py <<'CODE'
import torch
from snntorch import Leaky, RLeaky, RSynaptic, Synaptic

INPUTS = torch.tensor([0.6, 0.9, 0.1, 0.2, 0.4, 0.8, 0.6, 1.1, 0.6, 0.8, 0.5, 0.6])
RATES = {Leaky: {"beta": 0.9}, Synaptic: {"alpha": 0.8, "beta": 0.9}}
ALONE = {"V": 0.0, "all_to_all": False}  # a recurrent weight of 0


@torch.no_grad()
def spikes_and_potential(kind, **options):
    if kind in (RLeaky, RSynaptic):
        options |= RATES[Leaky if kind is RLeaky else Synaptic] | ALONE
    else:
        options |= RATES[kind]
    neuron = kind(**options)
    state, spikes, potential = neuron.reset_mem(), "", []
    for value in INPUTS:
        state = state if isinstance(state, tuple) else (state,)
        result = neuron(value[None], *state)
        state = result if kind in (RLeaky, RSynaptic) else result[1:]
        spikes += str(int(result[0]))
        potential.append(f"{result[-1].item():.2f}")
    return spikes, potential


for mechanism in "subtract", "zero", "none":
    print(f"{mechanism}:", *(f"{kind.__name__} {spikes_and_potential(kind, reset_mechanism=mechanism)[0]}"
                             for kind in (Leaky, RLeaky)))
for kind in Leaky, RLeaky, Synaptic, RSynaptic:
    spikes, potential = spikes_and_potential(kind, reset_mechanism="zero")
    after = spikes.index("1") + 1
    print(f"zero, {kind.__name__}: the step after the first spike ends at {potential[after]}")
for mechanism in "subtract", "zero":
    for kind in Leaky, RLeaky, Synaptic, RSynaptic:
        delayed = spikes_and_potential(kind, reset_mechanism=mechanism)
        at_once = spikes_and_potential(kind, reset_mechanism=mechanism, reset_delay=False)
        print(f"{mechanism}, {kind.__name__}: reset_delay=False changes", "nothing" if at_once == delayed else "what it does")
CODE
seen=$(venv/bin/python -W ignore resets.py)
echo "$seen"
wanted="subtract: Leaky 010001110101 RLeaky 010001110101
zero: Leaky 010001010101 RLeaky 010001010010
none: Leaky 011111111111 RLeaky 011111111111
zero, Leaky: the step after the first spike ends at 0.10
zero, RLeaky: the step after the first spike ends at 0.00
zero, Synaptic: the step after the first spike ends at 0.00
zero, RSynaptic: the step after the first spike ends at 0.00
subtract, Leaky: reset_delay=False changes what it does
subtract, RLeaky: reset_delay=False changes what it does
subtract, Synaptic: reset_delay=False changes what it does
subtract, RSynaptic: reset_delay=False changes nothing
zero, Leaky: reset_delay=False changes what it does
zero, RLeaky: reset_delay=False changes what it does
zero, Synaptic: reset_delay=False changes what it does
zero, RSynaptic: reset_delay=False changes nothing"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
