#!/usr/bin/env bash
# braincog 0.2.7.19: options of its spiking neurons that do nothing, a resting potential that is only where a second
# sequence begins, and a one-sided loss with two sides.
#
# - v_reset, in its docs the resting potential, is none: after a spike the membrane is 0, and it leaks towards 0.
#   n_reset() sets the membrane to v_reset, but a new neuron begins at 0. So the first sequence of inputs gives other
#   outputs than the second.
# - DGLIFNode takes its time constant for v_reset. After n_reset() its membrane is at tau = 2, over the threshold, and
#   it spikes in the first step of each sequence but the first, without any input.
# - In LIFNode dt and sigmoid_thres do nothing. In IFNode and PLIFNode they do.
# - LIFSTDPNode multiplies its membrane by tau in each step, which by default is 2: what was put into it grows for ever.
# - UnilateralMse, also a part of MixLoss, is to be one-sided: a rate over the threshold should cost nothing. It costs
#   as much as in the plain MSE.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 einops==0.8.2
venv/bin/pip install -q --no-deps braincog==0.2.7.19
# Without what the packages import besides the modules below: that would need torchvision, timm, tonic and more.
for package in braincog braincog/base braincog/base/utils; do
    : >"$(echo venv/lib/python3*/site-packages/$package)/__init__.py"
done
cat >run.py <<'CODE'
import torch
from braincog.base.node.node import DGLIFNode, IFNode, LIFNode, LIFSTDPNode, PLIFNode
from braincog.base.utils.criterions import UnilateralMse


def run(node, inputs):
    """The outputs and membrane potentials over a sequence of inputs."""
    pairs = [(node(torch.tensor([float(x)])).item(), node.mem.item()) for x in inputs]
    return (" ".join(f"{value:g}" for value in values) for values in zip(*pairs))


node = LIFNode(threshold=1.0, tau=2.0, v_reset=-8.0)
for text in "first", "second":
    spikes, potentials = run(node, [4, 4, 4, 0, 0])
    print(f"LIFNode with v_reset -8, {text} sequence of 4 4 4 0 0: spikes {spikes}, potentials {potentials}")
    node.n_reset()

node = DGLIFNode()
for text in "first", "second", "third":
    print(f"DGLIFNode, {text} sequence of 0 0 0 0: spikes", next(run(node, [0, 0, 0, 0])))
    node.n_reset()

for kind in LIFNode, PLIFNode, IFNode:
    potentials = [list(run(kind(threshold=10.0, dt=dt), [1, 1, 1]))[1] for dt in (1.0, 0.5)]
    print(f"{kind.__name__}: potentials with dt 1: {potentials[0]}, 0.5: {potentials[1]}")
for kind in LIFNode, PLIFNode, IFNode:
    spikes = [next(run(kind(threshold=0.0, sigmoid_thres=flag), [0.3] * 4)) for flag in (False, True)]
    print(f"{kind.__name__} with a threshold of 0: spikes {spikes[0]}, with sigmoid_thres {spikes[1]}")

_, potentials = run(LIFSTDPNode(threshold=100.0), [1, 0, 0, 0, 0, 0])
print(f"LIFSTDPNode: potentials for 1 0 0 0 0 0: {potentials}")

for rate in 0.0, 1.0, 2.0, 3.0:
    rates, label = torch.tensor([[rate, 0.0]]), torch.tensor([0])
    plain = torch.nn.functional.mse_loss(rates, torch.tensor([[1.0, 0.0]]))
    print(f"rate {rate:g} for 1: UnilateralMse {UnilateralMse(1.0)(rates, label):g}, MSE {plain:g}")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="LIFNode with v_reset -8, first sequence of 4 4 4 0 0: spikes 1 1 1 0 0, potentials 0 0 0 0 0
LIFNode with v_reset -8, second sequence of 4 4 4 0 0: spikes 0 0 1 0 0, potentials -2 1 0 0 0
DGLIFNode, first sequence of 0 0 0 0: spikes 0 0 0 0
DGLIFNode, second sequence of 0 0 0 0: spikes 1 0 0 0
DGLIFNode, third sequence of 0 0 0 0: spikes 1 0 0 0
LIFNode: potentials with dt 1: 0.5 0.75 0.875, 0.5: 0.5 0.75 0.875
PLIFNode: potentials with dt 1: 0.5 0.75 0.875, 0.5: 0.25 0.4375 0.578125
IFNode: potentials with dt 1: 1 2 3, 0.5: 0.5 1 1.5
LIFNode with a threshold of 0: spikes 1 1 1 1, with sigmoid_thres 1 1 1 1
PLIFNode with a threshold of 0: spikes 1 1 1 1, with sigmoid_thres 0 0 0 0
IFNode with a threshold of 0: spikes 1 1 1 1, with sigmoid_thres 0 1 0 1
LIFSTDPNode: potentials for 1 0 0 0 0 0: 1 2 4 8 16 32
rate 0 for 1: UnilateralMse 0.5, MSE 0.5
rate 1 for 1: UnilateralMse 0, MSE 0
rate 2 for 1: UnilateralMse 0.5, MSE 0.5
rate 3 for 1: UnilateralMse 2, MSE 2"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
