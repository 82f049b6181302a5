#!/usr/bin/env bash
# evutils 0.3.18: noise that moves events to one side, differences that change their sign, grids without events, and a
# seed that does not decide.
#
# - spatial_jitter adds noise to whole numbers and cuts off the fraction. So the least noise moves half of the events by
#   a pixel to the left, half of them up, and none to the right or down. With more noise, too, the picture moves by half
#   a pixel on average. time_jitter makes half of the events come earlier in the same way.
# - frame_diff counts in 8 bits and wraps: a pixel of 130 ON events has -126. histogram stops at the largest value.
# - voxel_histogram of two events is empty, that of three is not.
# - tore ignores dtype: the default is said to be uint8, the result is float32 always.
# - The seed of drop_event does not decide which p is drawn from a range: each call drops another number of events.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 numba==0.68.1 evutils==0.3.18
cat >run.py <<'CODE'
import numpy as np
from evutils.dense import frame_diff, histogram, tore, voxel_histogram
from evutils.transforms.functional import drop_event, spatial_jitter, time_jitter

kinds = [("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "i1")]


def events(number, x=50, y=50):
    made = np.zeros(number, kinds)
    made["x"], made["y"], made["t"], made["p"] = x, y, 1000 + np.arange(number), 1
    return made


many = events(100000)
for variance in 1e-6, 4.0:
    moved = spatial_jitter(many, (100, 100, 2), var_x=variance, var_y=variance)
    moves = moved["x"].astype(int) - 50
    print(f"spatial_jitter with a variance of {variance:g}: {(moves < 0).mean():.1f} of events go to the left,",
          f"{(moves > 0).mean():.1f} to the right, on average {moves.mean():.1f} and {moved['y'].mean() - 50:.1f}")
moves = time_jitter(many, std=0.001)["t"] - many["t"]
print(f"time_jitter with a deviation of 0.001: {(moves < 0).mean():.1f} of events are earlier,",
      f"{(moves > 0).mean():.1f} later")

for number in 127, 130, 300:
    made = events(number, 1, 1)
    print(f"{number} ON events: frame_diff {frame_diff(made, 4, 4)[1, 1]}, histogram {histogram(made, 4, 4)[1, 1, 0]}")

for number in 1, 2, 3:
    print(f"voxel_histogram of {number} events counts {voxel_histogram(events(number, 1, 1), 4, 4).sum()}")

for kind in None, np.uint8, np.float64:
    grid = tore(many[:3], 100, 100) if kind is None else tore(many[:3], 100, 100, dtype=kind)
    print("tore with dtype", kind.__name__ if kind else "left out", "gives", grid.dtype)

for p in 0.5, (0.1, 0.9):
    left = {len(drop_event(many, p, seed=1)) for _ in range(5)}
    print(f"drop_event with p = {p} and the same seed:",
          "one number" if len(left) == 1 else "several numbers", "of events")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="spatial_jitter with a variance of 1e-06: 0.5 of events go to the left, 0.0 to the right, on average -0.5 and -0.5
spatial_jitter with a variance of 4: 0.5 of events go to the left, 0.3 to the right, on average -0.5 and -0.5
time_jitter with a deviation of 0.001: 0.5 of events are earlier, 0.0 later
127 ON events: frame_diff 127, histogram 127
130 ON events: frame_diff -126, histogram 130
300 ON events: frame_diff 44, histogram 255
voxel_histogram of 1 events counts 0
voxel_histogram of 2 events counts 0
voxel_histogram of 3 events counts 3
tore with dtype left out gives float32
tore with dtype uint8 gives float32
tore with dtype float64 gives float32
drop_event with p = 0.5 and the same seed: one number of events
drop_event with p = (0.1, 0.9) and the same seed: several numbers of events"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
