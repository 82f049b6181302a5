#!/usr/bin/env bash
# tonic 1.7.0, recordings of event cameras: four transforms that change what was recorded.
#
# - ToVoxelGrid counts OFF events as ON. It sets the polarity 0 to -1, which in a field of type bool is True; and bool is the
#   type of tonic.io.events_struct, the default of make_structured_array. The last event of a recording is always lost.
# - DropEventByArea(area_ratio=(low, high)) draws the ratio from [high, 1), not from [low, high).
# - RefractoryPeriod(delta) drops a first event at t = 0, and starts anew with each event that it drops: of a pixel
#   that is faster than delta one event is left, not one in delta.
# - EventDownsampling with noise_threshold=0, in its description the default, makes an ON and an OFF event at each pixel in
#   each step in which nothing happened.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 typing-extensions==4.15.0
venv/bin/pip install -q --no-deps tonic==1.7.0
cat >run.py <<'CODE'
import importlib
import pathlib
import sys
import sysconfig
import types

import numpy as np

# Without tonic's own __init__.py, which wants the libraries of all its data sets.
package = types.ModuleType("tonic")
package.__path__ = [str(pathlib.Path(sysconfig.get_paths()["purelib"], "tonic"))]
sys.modules["tonic"] = package
io = importlib.import_module("tonic.io")
transforms = importlib.import_module("tonic.transforms")


def recording(x, y, t, p):
    return io.make_structured_array(*(np.array(values) for values in (x, y, t, p)))


size = (4, 4, 2)
off = recording([1, 1, 1, 1], [2, 2, 2, 2], [0, 10, 20, 30], [0, 0, 0, 0])
for kind in "bool", "int8":
    events = off.astype([(name, kind if name == "p" else off.dtype[name]) for name in off.dtype.names])
    print(f"ToVoxelGrid: 4 OFF events of {kind} sum to "
          f"{transforms.ToVoxelGrid(sensor_size=size, n_time_bins=2)(events).sum():+.0f}")

np.random.seed(1)
grid = np.indices((100, 100)).reshape(2, -1)
everywhere = recording(grid[0], grid[1], np.arange(10000), np.ones(10000))
drop = transforms.DropEventByArea(sensor_size=(100, 100, 2), area_ratio=(0.1, 0.2))
sides = [np.sqrt((10000 - len(drop(everywhere))) / 10000) for _ in range(200)]
print(f"DropEventByArea(area_ratio=(0.1, 0.2)): 200 ratios, of which {sum(side < 0.195 for side in sides)} are below 0.2 "
      f"and {sum(side > 0.5 for side in sides) > 50 and 'many'} above 0.5")

regular = recording([1] * 100, [1] * 100, np.arange(100), [1] * 100)
kept = transforms.RefractoryPeriod(delta=10)
print(f"RefractoryPeriod(delta=10): of an event in each step from 0 to 99, {len(kept(regular))} are kept; from 1 to 100, "
      f"{len(kept(recording([1] * 100, [1] * 100, np.arange(1, 101), [1] * 100)))}")

down = transforms.EventDownsampling(sensor_size=size, target_size=(4, 4), dt=0.01, downsampling_method="integrator",
                                    noise_threshold=0)
print(f"EventDownsampling(noise_threshold=0): {len(off)} events in 3 steps become {len(down(off.copy()))}")
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="ToVoxelGrid: 4 OFF events of bool sum to +3
ToVoxelGrid: 4 OFF events of int8 sum to -3
DropEventByArea(area_ratio=(0.1, 0.2)): 200 ratios, of which 0 are below 0.2 and many above 0.5
RefractoryPeriod(delta=10): of an event in each step from 0 to 99, 0 are kept; from 1 to 100, 1
EventDownsampling(noise_threshold=0): 4 events in 3 steps become 93"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
