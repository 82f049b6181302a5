#!/usr/bin/env bash
# expelliarmus 1.1.12: time windows of events that are longer than their length.
#
# - A window of read_time_window begins at its first event and ends with the first event after its length, which it
#   contains. So it has two events or more (but for EVT3's first), however far they are apart: with an event each 200 us,
#   windows of 1, 20 and 150 us are all 200 us long. Times without events are in no window, so that the number of windows
#   is not that of the time.
# - The length is in microseconds, as the description of the class says; in the one of the package (PyPI's page) it is in
#   milliseconds.
# - The same events saved as EVT3 come in other windows than as DAT and EVT2, and cut() leaves one event more of them.
#
# Fails if that changes. Needs python3 with venv, and a C compiler where there is no wheel for the machine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6
venv/bin/pip install -q --no-deps expelliarmus==1.1.12
cat >run.py <<'CODE'
import numpy as np
from expelliarmus import Wizard

FILES = {"dat": "events.dat", "evt2": "events2.raw", "evt3": "events3.raw"}


def save(times):
    """The events of one pixel, in each format."""
    events = np.zeros(len(times), dtype=[("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "|u1")])
    events["t"] = times
    for encoding, file in FILES.items():
        Wizard(encoding=encoding).save(fpath=file, arr=events)


def windows(encoding, length):
    wizard = Wizard(encoding=encoding, time_window=length)
    wizard.set_file(FILES[encoding])
    return [(int(part["t"][0]), int(part["t"][-1])) for part in wizard.read_time_window()]


save(np.arange(1000) * 200)
for length in 1, 20, 150:
    found = windows("dat", length)
    print(f"an event each 200 us for 200 ms, windows of {length} us: {len(found)}, the first are",
          *(f"{a}-{b}" for a, b in found[:3]))

save(np.sort(np.random.default_rng(0).integers(0, 200000, 1000)))
for encoding in FILES:
    found = windows(encoding, 20)
    print(f"random events as {encoding}, windows of 20 us:", *(f"{a}-{b}" for a, b in found[:4]))
for encoding, file in FILES.items():
    kept = Wizard(encoding=encoding).cut(fpath_in=file, fpath_out="cut" + file, new_duration=5000)
    print(f"random events as {encoding}, cut to 5 ms: {kept} are left")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="an event each 200 us for 200 ms, windows of 1 us: 500, the first are 0-200 400-600 800-1000
an event each 200 us for 200 ms, windows of 20 us: 500, the first are 0-200 400-600 800-1000
an event each 200 us for 200 ms, windows of 150 us: 500, the first are 0-200 400-600 800-1000
random events as dat, windows of 20 us: 60-547 707-979 1070-1281 1607-1656
random events as evt2, windows of 20 us: 60-547 707-979 1070-1281 1607-1656
random events as evt3, windows of 20 us: 60-60 547-707 979-1070 1071-1281
random events as dat, cut to 5 ms: 24 are left
random events as evt2, cut to 5 ms: 24 are left
random events as evt3, cut to 5 ms: 25 are left"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
