#!/usr/bin/env bash
# ale-py 0.12.1: loading a ROM takes ten times as long as it need, because each interface computes a table of the
# nearest colour to each of 262,144. Only the option color_averaging reads it, which is off by default.
#
# With 64 environments a program spends seconds of its start there. Leaving out the call of makeAveragePalette() in
# src/ale/environment/phosphor_blend.cpp takes loading from 100 to 10 ms, and the memory of an interface from 680
# to 170 kB. The script compares the time of loading with that of the 70 frames that a reset emulates.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q ale-py==0.12.1
cat >load.py <<'CODE'
import time

import ale_py
from ale_py import roms

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def seconds(call):
    best = 1e9
    for _ in range(5):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


ale = ale_py.ALEInterface()
load = seconds(lambda: ale.loadROM(roms.get_rom_path("pong")))
reset = seconds(ale.reset_game)
print(f"loading a ROM takes {'more' if load > 4 * reset else 'less'} than four times as long as resetting the game")
CODE
seen=$(venv/bin/python load.py)
echo "$seen"
wanted="loading a ROM takes more than four times as long as resetting the game"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
