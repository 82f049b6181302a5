#!/usr/bin/env bash
# snntorch 1.0.0: what mse_temporal_loss, by default, wants is that all neurons spike at once.
#
# - By default "correct classes aimed to fire at t=0, incorrect at t=-1 (final time step)". In the making of the targets a
#   clamp turns the -1 into 0: where all neurons spike in the first step, the loss is 0, and the right answer has a high
#   one. It is right with an off_target above on_target, such as the number of the final step.
# - With multi_spike=True the second spike of a neuron is looked for after the first ones were taken out: in the step of
#   any neuron's first spike all spikes of all neurons are taken out, also those of other samples.
# - With target_is_time=True, negative targets are counted from the end in the caller's own tensor. A second call with a
#   shorter sequence has the final step of the first.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps snntorch==1.0.0
cat >run.py <<'CODE'
import snntorch.functional as functional
import torch


def spikes(*times, steps=10):
    """Of one sample, as many neurons as lists of times."""
    made = torch.zeros(steps, 1, len(times))
    for neuron, when in enumerate(times):
        made[when, 0, neuron] = 1
    return made


right, at_once, label = spikes([9], [0], [9]), spikes([0], [0], [0]), torch.tensor([1])
for text, options in ("by default", {}), ("with off_target=9", {"off_target": 9}):
    loss = functional.mse_temporal_loss(**options)
    print(f"{text}: the loss of the right spikes is {loss(right, label):.2f}, that of all in the first step "
          f"{loss(at_once, label):.2f}")

loss = functional.mse_temporal_loss(target_is_time=True, multi_spike=True)
for other in [2, 7], [4, 7]:
    exact = torch.tensor([[[1.0, other[0]]], [[4.0, other[1]]]])
    print(f"of neurons that spike in steps 1 4 and {other[0]} {other[1]}, with just that as the target, the loss is",
          f"{loss(spikes([1, 4], other), exact):.2f}")

targets = torch.tensor([[-1.0, 2.0]])
functional.mse_temporal_loss(target_is_time=True)(spikes([9], [2]), targets)
print("targets -1 2 become", *targets[0].int().tolist())
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="by default: the loss of the right spikes is 0.54, that of all in the first step 0.00
with off_target=9: the loss of the right spikes is 0.00, that of all in the first step 0.54
of neurons that spike in steps 1 4 and 2 7, with just that as the target, the loss is 0.00
of neurons that spike in steps 1 4 and 4 7, with just that as the target, the loss is 0.06
targets -1 2 become 9 2"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
