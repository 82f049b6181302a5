#!/usr/bin/env bash
# bindsnet 0.3.4: encodings of data as spikes that are not what they say.
#
# - poisson: it is the intervals that are Poisson-distributed, so that spikes come like a clock's. With 2 Hz for 250 ms,
#   where a Poisson process has a spike in 39 % of the cases, there is none, and the numbers of spikes hardly vary.
# - poisson with approx=True: an input of 0 Hz fires, 255 Hz are 350, and half the time step means twice the rate.
# - rank_order, "one spike per neuron": the weakest input has none. Where all inputs are equal, such as in a black and
#   white picture, nothing fires.
# - rank_order and bernoulli divide the caller's own tensor by its maximum.
# - single, "spike occurs earlier if the intensity is higher": all its spikes are in the first step.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps bindsnet==0.3.4
cat >run.py <<'CODE'
import importlib.util
import pathlib
import sysconfig
import warnings

import torch

warnings.filterwarnings("ignore")
path = pathlib.Path(sysconfig.get_paths()["purelib"], "bindsnet/encoding/encodings.py")
spec = importlib.util.spec_from_file_location("encodings_", path)  # without all that bindsnet imports
encodings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(encodings)

torch.manual_seed(0)
counts = encodings.poisson(torch.full((10000,), 2.0), time=250).sum(0)
print(f"poisson, 2 Hz for 250 ms: a spike in {(counts > 0).float().mean():.0%} of 10000")
counts = encodings.poisson(torch.full((10000,), 40.0), time=1000).sum(0).float()
print(f"poisson, 40 Hz for 1 s: {counts.mean():.0f} spikes with a variance of {counts.var():.0f}")
for rate, dt in (0.0, 1.0), (255.0, 1.0), (255.0, 0.5):
    counts = encodings.poisson(torch.full((2000,), rate), time=1000, dt=dt, approx=True).sum(0).float()
    print(f"approx=True, {rate:.0f} Hz for 1 s, dt {dt:g} ms: {5 * round(counts.mean().item() / 5)} spikes")

for values in [1.0, 2.0, 4.0], [1.0, 1.0, 0.0]:
    print("rank_order of", *values, "fires", *encodings.rank_order(torch.tensor(values), time=20).sum(0).tolist())
for encode in encodings.rank_order, encodings.bernoulli:
    datum = torch.tensor([51.0, 255.0])
    encode(datum, time=10)
    print(f"{encode.__name__} makes of the caller's 51 and 255", *(f"{v:g}" for v in datum))
steps = encodings.single(torch.arange(10.0), time=10, sparsity=0.5).nonzero()
print("single: spikes of neurons", *steps[:, 1].tolist(), "in steps", *steps[:, 0].tolist())
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="poisson, 2 Hz for 250 ms: a spike in 0% of 10000
poisson, 40 Hz for 1 s: 40 spikes with a variance of 2
approx=True, 0 Hz for 1 s, dt 1 ms: 5 spikes
approx=True, 255 Hz for 1 s, dt 1 ms: 355 spikes
approx=True, 255 Hz for 1 s, dt 0.5 ms: 710 spikes
rank_order of 1.0 2.0 4.0 fires 0 1 1
rank_order of 1.0 1.0 0.0 fires 0 0 0
rank_order makes of the caller's 51 and 255 0.2 1
bernoulli makes of the caller's 51 and 255 0.2 1
single: spikes of neurons 5 6 7 8 9 in steps 0 0 0 0 0"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
