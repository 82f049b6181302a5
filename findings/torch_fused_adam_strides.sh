#!/usr/bin/env bash
# torch 2.13.0, CPU: Adam, AdamW, SGD and Adagrad with fused=True take a gradient with strides, such as
# torch.autograd.grad returns for two parts of a matrix, for a contiguous one: they read the numbers that
# lie next to each other in memory, also those of other rows and other parameters, and say nothing. The
# same optimisers with fused=False learn from the right ones. backward() hides it, because it copies such
# a gradient before it becomes p.grad.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy
cat >strides.py <<'CODE'
import torch

coefficients = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def changes(make):
    left, right = (torch.nn.Parameter(torch.zeros(2, columns)) for columns in (2, 1))
    optimiser = make([left, right])
    loss = (torch.cat([left, right], 1) * coefficients).sum()
    left.grad, right.grad = torch.autograd.grad(loss, [left, right])
    optimiser.step()
    if "exp_avg" in optimiser.state[left]:
        return [(10 * optimiser.state[p]["exp_avg"]).flatten().tolist() for p in (left, right)]
    if "sum" in optimiser.state[left]:
        return [optimiser.state[p]["sum"].sqrt().flatten().tolist() for p in (left, right)]
    return [(-p).flatten().tolist() for p in (left, right)]


for name in ("Adam", "AdamW", "SGD", "Adagrad"):
    for fused in (False, True):
        seen = changes(lambda parameters: getattr(torch.optim, name)(parameters, lr=1.0, fused=fused))
        print(name, "fused" if fused else "not fused", [[round(v) for v in part] for part in seen])
CODE
seen=$(venv/bin/python strides.py)
echo "gradient of the left part: 1 2 4 5, of the right one: 3 6; what the optimiser has read:"
echo "$seen"
wanted="Adam not fused [[1, 2, 4, 5], [3, 6]]
Adam fused [[1, 2, 3, 4], [3, 4]]
AdamW not fused [[1, 2, 4, 5], [3, 6]]
AdamW fused [[1, 2, 3, 4], [3, 4]]
SGD not fused [[1, 2, 4, 5], [3, 6]]
SGD fused [[1, 2, 3, 4], [3, 4]]
Adagrad not fused [[1, 2, 4, 5], [3, 6]]
Adagrad fused [[1, 2, 3, 4], [3, 4]]"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
