#!/usr/bin/env bash
# neurogym 2.3.1: batches that one keeps change, and seeds do not decide what comes.
#
# - neurogym.Dataset returns views of a cache that it fills anew when it is used up, here with each 16th batch. A first
#   batch that was kept, to validate with, then is that 16th one, with which one trains.
# - Dataset.seed(s) does not decide the batches that follow: the first 15 are in the cache already.
# - env.reset(seed=s) does not decide the trials, though its documentation says so; env.seed(s) does.
#   And each reset seeds the action space with 0, so that a random agent repeats its actions after each.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels), which neurogym imports, into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 neurogym==2.3.1
cat >batches.py <<'CODE'
import neurogym
import numpy as np

TASK, OPTIONS = "PerceptualDecisionMaking-v0", {"batch_size": 16, "seq_len": 100}
data = neurogym.Dataset(TASK, **OPTIONS)
kept, _ = data()
copied, drawn = kept.copy(), 1
while np.array_equal(kept, copied):
    latest, _ = data()
    drawn += 1
print(f"batches until the first one has changed: {drawn}; it is then the latest one:", np.array_equal(kept, latest))


def batches(count):
    data = neurogym.Dataset(TASK, **OPTIONS)
    data.seed(1)
    return [data()[0].copy() for _ in range(count)]


same = [np.array_equal(a, b) for a, b in zip(batches(20), batches(20))]
print("batches after Dataset.seed(1), alike in two runs:", *(int(s) for s in same))


def trials(seed):
    env = neurogym.make(TASK)
    seed(env)
    actions = [int(env.action_space.sample()) for _ in range(12)]
    return np.array([env.step(0)[0] for _ in range(100)]), actions


def by_seed(env):
    env.unwrapped.seed(1)
    env.reset()


for name, seed in ("env.reset(seed=1)", lambda env: env.reset(seed=1)), ("env.seed(1), env.reset()", by_seed):
    print(f"{name}: trials alike in two runs: {np.array_equal(trials(seed)[0], trials(seed)[0])}")
for number in 1, 2:
    print(f"random actions after env.reset(seed={number}):", *trials(lambda env: env.reset(seed=number))[1])
CODE
seen=$(venv/bin/python -W ignore batches.py 2>/dev/null)
echo "$seen"
wanted="batches until the first one has changed: 16; it is then the latest one: True
batches after Dataset.seed(1), alike in two runs: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1 1 1
env.reset(seed=1): trials alike in two runs: False
env.seed(1), env.reset(): trials alike in two runs: True
random actions after env.reset(seed=1): 1 1 0 0 0 0 0 0 2 1 2 1
random actions after env.reset(seed=2): 1 1 0 0 0 0 0 0 2 1 2 1"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
