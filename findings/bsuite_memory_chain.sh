#!/usr/bin/env bash
# bsuite 0.3.5: the memory chain, on which memory_len and memory_size measure how far back an agent remembers, shows each
# bit longer than its description says, and asks before it says that the time is up.
#
# The description: the context is nonzero in the first step only, and actions count when time_to_live is 0. But the first
# step returns the observation of the reset again, because the clock advances after the observation is made. So
# the context is shown twice, and memory_length = 1, the first of the settings, needs no memory at all. The action that
# counts is due at time_to_live 1 / memory_length; 0 comes with the end of the episode.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q dm-env==1.6 numpy==2.4.6
venv/bin/pip install -q --no-deps bsuite==0.3.5
cat >run.py <<'CODE'
import importlib
import pathlib
import sys
import sysconfig
import types

# Of bsuite only the environment: the package itself wants pandas and plotting libraries.
root = pathlib.Path(sysconfig.get_paths()["purelib"], "bsuite")
for name in "bsuite", "bsuite.environments":
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    sys.modules[name] = package
chain = importlib.import_module("bsuite.environments.memory_chain")

for length in 1, 2, 4:
    env = chain.MemoryChain(memory_length=length, seed=1)
    step = env.reset()
    seen = []
    while not step.last():
        seen.append(step.observation[0])
        step = env.step(0)
    shown = sum(1 for observation in seen if observation[2] != 0)
    before = len(seen) - 1 - max(t for t, observation in enumerate(seen) if observation[2] != 0)
    print(f"memory_length {length}: {len(seen)} actions, the bit is in {shown} observations, the last of them {before} "
          f"before the action that counts, at time_to_live {seen[-1][0]:g}")

env = chain.MemoryChain(memory_length=1, seed=1)
total = 0
for _ in range(1000):
    step = env.reset()
    while not step.last():
        step = env.step(int(step.observation[0, 2] > 0))
    total += step.reward
print(f"memory_length 1, an agent without memory: {total / 1000:g} of 1")
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="memory_length 1: 2 actions, the bit is in 2 observations, the last of them 0 before the action that counts, at time_to_live 1
memory_length 2: 3 actions, the bit is in 2 observations, the last of them 1 before the action that counts, at time_to_live 0.5
memory_length 4: 5 actions, the bit is in 2 observations, the last of them 3 before the action that counts, at time_to_live 0.25
memory_length 1, an agent without memory: 1 of 1"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
