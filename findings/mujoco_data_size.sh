#!/usr/bin/env bash
# mujoco-core 4.0.0: the data of the smallest model takes more than 350 kB of memory, also where its
# <size memory> asks for an arena of 64 kB and its buffer has 8 kB. (3.14.0 does the same.)
#
# 158 KiB are the C struct mjData itself, 156 of them statistics of the solver for 20 islands and 200
# iterations (mjNISLAND, mjNSOLVER) that a model without constraints never has; the Python object adds the
# rest. So thousands of environments with a mjData each need gigabytes and miss the cache at each step; keep
# a state of a few numbers for each and one mjData for each thread.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q mujoco-core==4.0.0
cat >size.py <<'CODE'
import resource

import mujoco

MODEL = """<mujoco><size memory="64K"/><worldbody><body>
  <joint type="slide"/><geom size="0.1" mass="1"/>
</body></worldbody></mujoco>"""
COUNT = 2000


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB


model = mujoco.MjModel.from_xml_string(MODEL)
before = resident()
data = [mujoco.MjData(model) for _ in range(COUNT)]
each = (resident() - before) / COUNT
print(f"arena {model.narena / 1024:.0f} kB, buffer {model.nbuffer / 1024:.0f} kB, resident memory of each "
      f"mjData {'above' if each > 350 else 'below'} 350 kB")
CODE
seen=$(venv/bin/python size.py)
echo "$seen"
wanted="arena 64 kB, buffer 8 kB, resident memory of each mjData above 350 kB"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
