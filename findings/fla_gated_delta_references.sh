#!/usr/bin/env bash
# fla-core 0.6.0: the two references of the gated delta rule, fla/ops/gated_delta_rule/naive.py, are no replacement for each
# other. Both are what its GPU kernels are tested with.
#
# - naive_recurrent_gated_delta_rule takes (q, k, v, beta, g), naive_chunk_gated_delta_rule (q, k, v, g, beta). All are
#   tensors of the same shape, so positional arguments run either way, and one of the two is wrong.
# - The chunked one adds up g, the logarithm of the decay, over a chunk and takes differences. A step that forgets
#   everything, g = -inf, leaves NaN; g = -1e6 in its place rounds every later decay of the chunk.
# - Both compute in float, whatever they are given: torch.autograd.gradcheck, which wants double, fails for either.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels). Only the file with the references is imported, because the package wants a GPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 einops==0.8.2
venv/bin/pip install -q --no-deps fla-core==0.6.0
cat >run.py <<'CODE'
import importlib.util
import pathlib
import sysconfig

import torch

path = pathlib.Path(sysconfig.get_paths()["purelib"], "fla/ops/gated_delta_rule/naive.py")
spec = importlib.util.spec_from_file_location("naive", path)
naive = importlib.util.module_from_spec(spec)
spec.loader.exec_module(naive)
recurrent, chunk = naive.naive_recurrent_gated_delta_rule, naive.naive_chunk_gated_delta_rule

torch.manual_seed(1)
T, K = 32, 8
q, k, v = (torch.randn(1, T, 1, K) for _ in range(3))
k = k / k.norm(dim=-1, keepdim=True)
beta, g = torch.rand(1, T, 1), -torch.rand(1, T, 1)


def difference(a, b):
    return (a[0] - b[0]).abs().max().item()


named = difference(recurrent(q=q, k=k, v=v, beta=beta, g=g), chunk(q=q, k=k, v=v, beta=beta, g=g))
print("by name they", "agree" if named < 1e-5 else "differ")
positional = difference(recurrent(q, k, v, beta, g), chunk(q, k, v, beta, g))
print("by position they", "agree" if positional < 1e-5 else "differ")
for forget in -30, -1e6, -float("inf"):
    g[0, 10] = forget
    one, other = recurrent(q=q, k=k, v=v, beta=beta, g=g), chunk(q=q, k=k, v=v, beta=beta, g=g)
    seen = difference(one, other)
    if other[0].isnan().any():
        print(f"with g = {forget} at one step, {'both have' if one[0].isnan().any() else 'only the chunked one has'} NaN")
    else:
        print(f"with g = {forget} at one step they", "agree" if seen < 1e-5 else "differ")
print("of double they make", recurrent(*(x.double() for x in (q, k, v, beta, g)))[0].dtype,
      "and", chunk(*(x.double() for x in (q, k, v, g, beta)))[0].dtype)
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="by name they agree
by position they differ
with g = -30 at one step they agree
with g = -1000000.0 at one step they differ
with g = -inf at one step, only the chunked one has NaN
of double they make torch.float32 and torch.float32"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
