#!/usr/bin/env bash
# nir 1.0.8: shapes of convolutions that are wrong, and spikes that get lost on a grid.
#
# - A Conv2d node takes the first size of its kernel for both axes. So with a kernel of 3 x 5 its output type is wrong; a
#   graph with the right shape is refused, one with the wrong shape accepted.
# - Of a convolution in groups it takes the channels of one group as those of the input, and refuses a graph with the
#   right ones.
# - A TimeGriddedData that goes through to_event and back, with the same dt, loses spikes: with dt 0.01 that of step 29
#   comes back in step 28 (0.29 / 0.01 is below 29 and rounded down). A grid of 29 steps comes back with 28.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 h5py==3.15.1
venv/bin/pip install -q --no-deps nir==1.0.8
cat >run.py <<'CODE'
import nir
import numpy as np


def check(weight, groups, shape_in, shape_out):
    conv = nir.Conv2d(input_shape=(10, 10), weight=np.zeros(weight), stride=1, padding=0, dilation=1, groups=groups,
                      bias=np.zeros(weight[0]))
    try:
        nir.NIRGraph({"input": nir.Input(np.array(shape_in)), "conv": conv, "output": nir.Output(np.array(shape_out))},
                     [("input", "conv"), ("conv", "output")])
        answer = "accepted"
    except ValueError:
        answer = "refused"
    print(f"Conv2d with weights {weight} in {groups} group(s), from {shape_in} to {shape_out}: {answer}")


check((1, 1, 3, 5), 1, [1, 10, 10], [1, 8, 6])
check((1, 1, 3, 5), 1, [1, 10, 10], [1, 8, 8])
check((4, 1, 3, 3), 4, [4, 10, 10], [4, 8, 8])
check((4, 1, 3, 3), 4, [1, 10, 10], [4, 8, 8])

for dt in 0.01, 0.1:
    full = nir.TimeGriddedData(np.ones((1, 100, 1), dtype=bool), dt)
    back = full.to_event(n_events=100).to_time_gridded(dt).data[0, :, 0]
    print(f"dt {dt}: of 100 spikes {back.sum()} come back; without one are the steps", *np.flatnonzero(~back))
short = nir.TimeGriddedData(np.zeros((1, 29, 1), dtype=bool), 0.01)
print("a grid of 29 steps comes back with", short.to_event(n_events=1).to_time_gridded(0.01).n_time_steps)
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="Conv2d with weights (1, 1, 3, 5) in 1 group(s), from [1, 10, 10] to [1, 8, 6]: refused
Conv2d with weights (1, 1, 3, 5) in 1 group(s), from [1, 10, 10] to [1, 8, 8]: accepted
Conv2d with weights (4, 1, 3, 3) in 4 group(s), from [4, 10, 10] to [4, 8, 8]: refused
Conv2d with weights (4, 1, 3, 3) in 4 group(s), from [1, 10, 10] to [4, 8, 8]: accepted
dt 0.01: of 100 spikes 98 come back; without one are the steps 29 59
dt 0.1: of 100 spikes 96 come back; without one are the steps 43 81 86 91
a grid of 29 steps comes back with 28"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
