#!/usr/bin/env bash
# torch 2.13.0: a rule for vmap, registered with torch.library.register_vmap, is not used by
# torch.autograd.grad(..., is_grads_batched=True), which torch documents as vectorised by vmap.
#
# It runs on the older vmap of torch._vmap_internals, whose dispatch key is Batched; register_vmap writes
# to FuncTorchBatched. An op with a list of tensors, for which torch cannot make a loop of its own, is then
# refused ("Batching rule not implemented"), though torch.func.vmap of the same op works.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy
cat >batched.py <<'CODE'
import torch


@torch.library.custom_op("demo::total", mutates_args=())
def total(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(values).sum(0)


def rule(info, in_dims, values):
    entries = [[value if dim is None else value.select(dim, k)
                for value, dim in zip(values, in_dims[0])] for k in range(info.batch_size)]
    return torch.stack([torch.ops.demo.total(entry) for entry in entries]), 0


torch.library.register_vmap("demo::total", rule)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return torch.ops.demo.total([gradient, gradient])


x = torch.ones(3, requires_grad=True)
several = torch.eye(3)
print("vmap:", torch.func.vmap(lambda one: torch.ops.demo.total([one, one]))(several).diag().tolist())
try:
    print("is_grads_batched:", torch.autograd.grad(Twice.apply(x), x, several, is_grads_batched=True))
except RuntimeError as error:
    print("is_grads_batched:", str(error).partition(".")[0])
CODE
seen=$(venv/bin/python batched.py)
echo "$seen"
wanted="vmap: [2.0, 2.0, 2.0]
is_grads_batched: Batching rule not implemented for demo::total"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
