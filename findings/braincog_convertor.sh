#!/usr/bin/env bash
# braincog 0.2.7.19: by default its Convertor makes a spiking network that cannot go beyond 1; a hard reset that is not
# done, a calibration that is not reset and not everywhere, and convolutions that lose their dilation.
#
# - Convertor scales each ReLU by its largest activation. While it looks for that, it cuts activations at gamma, in its
#   docs the number of spikes in a burst, by default 1. So an activation of 3 becomes 1.
# - With soft_mode=False a neuron should go back to 0 after a spike. It is not reset at all: once over the threshold it
#   spikes for ever.
# - spicalib, the allowed time without a spike, is 0 for a ReLU in a module within the network. Where it is in force,
#   the network's reset() leaves its counts of steps and spikes, so that a sample changes the outputs for the next one.
# - With merge, which is the default, a convolution before a BatchNorm2d loses its dilation and its padding mode.
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
from braincog.base.conversion import Convertor
from torch import nn


def network():
    """Gives what it gets."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    nn.init.ones_(net[0].weight)
    return net


def convert(net, **options):
    values = torch.linspace(0, 4, 41)[:, None]
    return Convertor([(values, None)], device="cpu", p=1.0, **options)(net)


@torch.no_grad()
def outputs(net, *values):
    return [net(torch.tensor([[value]])).item() for value in values]


for options in {}, {"gamma": 5}:
    rates = []
    for value in 0.5, 1.0, 2.0, 3.0:
        net = convert(network(), **options)
        rates.append(sum(outputs(net, *[value] * 64)) / 64)
    print(f"rates for activations of 0.5 1 2 3 with {options or 'defaults'}:", *(f"{rate:g}" for rate in rates))

for soft in True, False:
    net = convert(network(), soft_mode=soft)
    print(f"soft_mode={soft}: spikes for 0.5 0.5 0.5 0 0 0:", *map(int, outputs(net, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0)))


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = network()
        self.second = nn.ReLU()

    def forward(self, x):
        return self.second(self.first(x))


net = convert(Nested(), spicalib=3)
print(f"spicalib=3: {net.first[1][2].allowance} for a ReLU in a module, {net.second[2].allowance} for one beside it")
net = convert(nn.Sequential(nn.ReLU()), spicalib=1)
for text in "first", "second":
    print(f"spicalib=1: outputs for the {text} sample of 0 0 1 1 0 0 0 0:",
          *map(int, outputs(net, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)))
    net.reset()

image = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8) ** 2
for text, options in (("plain", {"padding": 1}), ("dilation 2", {"padding": 1, "dilation": 2}),
                      ("circular padding", {"padding": 1, "padding_mode": "circular"})):
    mean = []
    for merge in False, True:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 1, 3, **options), nn.BatchNorm2d(1), nn.AdaptiveAvgPool2d(1))
        net = Convertor([(image, None)], device="cpu", merge=merge)(net)
        mean.append(net(image).item())
    print(f"mean of a convolution, {text}: {mean[0]:.3f}, merged {mean[1]:.3f}")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="rates for activations of 0.5 1 2 3 with defaults: 0.5 1 1 1
rates for activations of 0.5 1 2 3 with {'gamma': 5}: 0.5 1 2 3
soft_mode=True: spikes for 0.5 0.5 0.5 0 0 0: 0 1 0 0 0 0
soft_mode=False: spikes for 0.5 0.5 0.5 0 0 0: 0 1 1 1 1 1
spicalib=3: 0 for a ReLU in a module, 3 for one beside it
spicalib=1: outputs for the first sample of 0 0 1 1 0 0 0 0: 0 0 1 1 0 0 -1 -1
spicalib=1: outputs for the second sample of 0 0 1 1 0 0 0 0: 0 0 0 1 0 0 0 0
mean of a convolution, plain: 0.064, merged 0.064
mean of a convolution, dilation 2: 0.108, merged 0.064
mean of a convolution, circular padding: 0.036, merged 0.064"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
