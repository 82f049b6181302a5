#!/usr/bin/env bash
# ale-py 0.12.1: `restoreState` brings back the game and not the picture. Until the next `act` the getters of the
# screen return the picture from before the call, so an observation that is read after a restore is of another
# state.
#
# The state has the console's memory and registers, but no frame buffer. Save the screen with the state.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q ale-py==0.12.1
cat >restore.py <<'CODE'
import ale_py
import numpy
from ale_py import roms

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
ale = ale_py.ALEInterface()
ale.setFloat("repeat_action_probability", 0)
ale.loadROM(roms.get_rom_path("pong"))


def play(frames):
    for _ in range(frames):
        ale.act(ale_py.Action.RIGHT)
    return ale.getScreen().copy(), ale.getRAM().copy()


then, memory_then = play(100)
state = ale.cloneState()
now, memory_now = play(60)
ale.restoreState(state)
restored, memory = ale.getScreen(), ale.getRAM()
print(f"after restoreState the memory is {'the saved' if (memory == memory_then).all() else 'another'} one, the screen "
      f"{'the saved' if (restored == then).all() else 'the last' if (restored == now).all() else 'another'} one")
CODE
seen=$(venv/bin/python restore.py)
echo "$seen"
wanted="after restoreState the memory is the saved one, the screen the last one"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
