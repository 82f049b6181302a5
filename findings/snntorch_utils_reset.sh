#!/usr/bin/env bash
# snntorch 1.0.0: utils.reset(net) resets neurons of other networks, and not always its own.
#
# It looks only at the direct children of net for the kinds of neurons there are, and then resets all neurons of those
# kinds that the process has ever made. So a network whose neurons are in a block of it, such as a Sequential, is not
# reset: its next batch begins with the membranes of the last one. Another network is, in the middle of its sequence,
# whenever one with neurons at the top is. LinearLeaky is looked for, but never reset.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps snntorch==1.0.0
cat >run.py <<'CODE'
import snntorch
import torch
from snntorch import utils


def block():
    return torch.nn.Sequential(torch.nn.Identity(), snntorch.Leaky(beta=0.9, threshold=100.0, init_hidden=True))


class Net(torch.nn.Module):
    """With its neurons in a block."""

    def __init__(self):
        super().__init__()
        self.block = block()

    def forward(self, x):
        return self.block(x)


nets = {"flat": block(), "other": block(), "with a block": Net()}


def show(text):
    print(text, "the membranes are", *(f"{(net.block if isinstance(net, Net) else net)[1].mem.item():.0f} ({name})"
                                       for name, net in nets.items()))


for name in "with a block", "flat":
    for net in nets.values():
        net(torch.ones(1, 1))
    show("after a step")
    utils.reset(nets[name])
    show(f"after reset of the one '{name}'")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="after a step the membranes are 1 (flat) 1 (other) 1 (with a block)
after reset of the one 'with a block' the membranes are 1 (flat) 1 (other) 1 (with a block)
after a step the membranes are 2 (flat) 2 (other) 2 (with a block)
after reset of the one 'flat' the membranes are 0 (flat) 0 (other) 0 (with a block)"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
