#!/usr/bin/env bash
# sinabs 3.1.3: ALIF, the leaky neuron with an adaptive threshold, is more than LIF with adaptation. With adapt_scale=0
# its threshold does not move, and without a synaptic current both spike alike. But:
#
# - With tau_syn and norm_input (the default) each step multiplies the synaptic current by 1 - alpha_mem too. At
#   tau_syn=10 LIF keeps 0.905 of it for the next step, ALIF 0.164 at tau_mem=5 and 0.009 at tau_mem=100: the longer the
#   membrane remembers, the sooner the synapse forgets. (The docstring has a third factor there, 1 - alpha_syn.)
# - A call does not keep the synaptic current for the next: a sequence in two calls has other spikes than in one.
# - With record_states the v_mem recorded for a step is that of the next step, before its reset; only the last is right.
# - A deep copy of ALIF(norm_input=False) has norm_input=True.
#
# LIF does none of this.
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
cat >alif.py <<'CODE'
import copy

import torch
from sinabs.activation import SingleSpike
from sinabs.layers import ALIF, LIF

INPUTS = torch.tensor([0.5, 0.8, 0.1, 0.15, 0.3, 0.6, 0.5, 0.9]).reshape(1, 8, 1)


def neuron(kind, threshold=1.0, **options):
    if kind is ALIF:
        options |= {"tau_adapt": 10.0, "adapt_scale": 0.0}
    return kind(spike_threshold=torch.tensor(threshold), spike_fn=SingleSpike, record_states=True, **options)


def numbers(tensor):
    return " ".join(f"{value:.3f}" for value in tensor.flatten().tolist())


@torch.no_grad()
def current_kept(kind, **options):
    layer = neuron(kind, threshold=1e9, tau_syn=10.0, **options)
    layer(torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1))
    current = layer.recordings["i_syn"].flatten()
    return f"{current[2] / current[1]:.3f}"


for tau_mem in 5.0, 20.0, 100.0:
    print(f"current kept for the next step, tau_mem={tau_mem:.0f}: LIF {current_kept(LIF, tau_mem=tau_mem)},",
          f"ALIF {current_kept(ALIF, tau_mem=tau_mem)},",
          f"ALIF with norm_input=False {current_kept(ALIF, tau_mem=tau_mem, norm_input=False)}")
for kind in LIF, ALIF:
    with torch.no_grad():
        layer = neuron(kind, threshold=3.0, tau_mem=5.0, tau_syn=5.0, norm_input=False)
        for parts in 1, 2:
            layer.reset_states()
            spikes = torch.cat([layer(part) for part in (2 * INPUTS).chunk(parts, 1)], 1)
            marks = "".join(f"{spike:.0f}" for spike in spikes.flatten())
            print(f"{kind.__name__} with tau_syn: spikes in {parts} call(s): {marks}")
for kind in LIF, ALIF:
    with torch.no_grad():
        layer = neuron(kind, tau_mem=5.0, norm_input=False)
        layer(INPUTS)
        recorded = layer.recordings["v_mem"]
        layer.reset_states()
        potential = []
        for value in INPUTS.unbind(1):
            layer(value[:, None])
            potential.append(layer.v_mem)
    print(f"{kind.__name__}: v_mem step by step: {numbers(torch.stack(potential))}")
    print(f"{kind.__name__}: v_mem recorded:     {numbers(recorded)}")
    print(f"{kind.__name__}(norm_input=False): a deep copy has norm_input={copy.deepcopy(layer).norm_input}")
CODE
seen=$(venv/bin/python -W ignore alif.py)
echo "$seen"
wanted="current kept for the next step, tau_mem=5: LIF 0.905, ALIF 0.164, ALIF with norm_input=False 0.905
current kept for the next step, tau_mem=20: LIF 0.905, ALIF 0.044, ALIF with norm_input=False 0.905
current kept for the next step, tau_mem=100: LIF 0.905, ALIF 0.009, ALIF with norm_input=False 0.905
LIF with tau_syn: spikes in 1 call(s): 00101111
LIF with tau_syn: spikes in 2 call(s): 00101111
ALIF with tau_syn: spikes in 1 call(s): 00101111
ALIF with tau_syn: spikes in 2 call(s): 00100101
LIF: v_mem step by step: 0.500 0.209 0.271 0.372 0.605 0.095 0.578 0.373
LIF: v_mem recorded:     0.500 0.209 0.271 0.372 0.605 0.095 0.578 0.373
LIF(norm_input=False): a deep copy has norm_input=False
ALIF: v_mem step by step: 0.500 0.209 0.271 0.372 0.605 0.095 0.578 0.373
ALIF: v_mem recorded:     1.209 0.271 0.372 0.605 1.095 0.578 1.373 0.373
ALIF(norm_input=False): a deep copy has norm_input=True"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
