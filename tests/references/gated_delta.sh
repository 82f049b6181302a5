#!/usr/bin/env bash
# The gated delta rule of fla-core 0.6.0, the reference that its own kernels are tested with, beside
# tests/golden/gated_delta.json, which `stpn verify` and CI compare our unit with.
#
# Fails if outputs or final states differ by more than float's rounding. Needs python3 with venv; installs torch (the
# wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder. Of fla-core
# only the file with the reference is imported, because the package itself wants a GPU.
set -euo pipefail
golden=$(cd "$(dirname "$0")/../golden" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 einops==0.8.2
venv/bin/pip install -q --no-deps fla-core==0.6.0
cat >compare.py <<'CODE'
import importlib.util
import json
import pathlib
import sys
import sysconfig

import torch

golden = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(golden))
from make_golden import GatedDelta as Unit

path = pathlib.Path(sysconfig.get_paths()["purelib"], "fla/ops/gated_delta_rule/naive.py")
spec = importlib.util.spec_from_file_location("naive", path)
naive = importlib.util.module_from_spec(spec)
spec.loader.exec_module(naive)

content = json.loads((golden / "gated_delta.json").read_text())


def tensor(array):
    return torch.tensor(array["data"], dtype=torch.float64).reshape(array["shape"])


p = {name: tensor(array) for name, array in content["params"].items()}
x = tensor(content["x"])
q, k, v, decay, write = (torch.stack(each, 1) for each in zip(*(Unit.projections(p, step) for step in x)))
S = tensor(content["initial_state"]["S"]).unflatten(1, (Unit.HEADS, Unit.VALUE)).transpose(2, 3)
for name in "naive_recurrent_gated_delta_rule", "naive_chunk_gated_delta_rule":
    read, last = getattr(naive, name)(q=q, k=k, v=v, beta=write, g=decay, initial_state=S, output_final_state=True)
    output = torch.stack([Unit.output(p, step, read[:, t].double()) for t, step in enumerate(x)])
    error = (output - tensor(content["output"])).abs().max().item()
    of_state = (last.transpose(2, 3).flatten(1, 2) - tensor(content["final_state"]["S"])).abs().max().item()
    print(f"{name}: largest difference of outputs {error:.1e}, of final states {of_state:.1e}")
    assert error < 1e-5 and of_state < 1e-5
CODE
venv/bin/python compare.py "$golden"
