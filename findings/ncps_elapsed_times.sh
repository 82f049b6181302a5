#!/usr/bin/env bash
# ncps 1.0.1: in a batch with as many sequences as the layer has neurons, CfC and LTC use the elapsed time of
# sequence k for neuron k of every sequence. With any other batch of more than one sequence they raise an error.
#
# The times of a step have one number for each sequence and are multiplied, without a further axis, by a matrix of
# sequences and neurons, so that they are taken along the last axis, the neurons. Run each sequence in a batch of its
# own, or give times that do not differ between sequences.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy ncps==1.0.1
cat >times.py <<'CODE'
import torch
from ncps.torch import LTC, CfC

NEURONS = 4
torch.manual_seed(0)
for kind in CfC, LTC:
    layer = kind(2, NEURONS)
    for count in 3, NEURONS:
        inputs, times = torch.randn(count, 5, 2), 0.1 + torch.rand(count, 5)
        alone = torch.cat([layer(inputs[[k]], timespans=times[[k]])[0] for k in range(count)])
        try:
            error = (layer(inputs, timespans=times)[0] - alone).abs().max().item()
            seen = "as each alone" if error < 1e-5 else "other numbers than each alone"
        except RuntimeError:
            seen = "an error"
        print(f"{kind.__name__} of {NEURONS} neurons, {count} sequences: {seen}")
CODE
seen=$(venv/bin/python times.py)
echo "$seen"
wanted="CfC of 4 neurons, 3 sequences: an error
CfC of 4 neurons, 4 sequences: other numbers than each alone
LTC of 4 neurons, 3 sequences: an error
LTC of 4 neurons, 4 sequences: other numbers than each alone"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
