#!/usr/bin/env bash
# torchrl 0.14.1: over a sequence (recurrent mode) LSTMModule and GRUModule return a state for every step, but all
# except the last one of each trajectory are zero. Called step by step they return the true states.
#
# The outputs agree in both modes. Whoever reads ("next", "h") of a sequence, to start another rollout in the middle,
# to compute a bootstrap value or to record what the memory does, reads zeros, with the shape that was expected.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set
# PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels) into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy torchrl==0.14.1 tensordict==0.14.3
cat >states.py <<'CODE'
import warnings

import torch
from tensordict import TensorDict
from torchrl.modules import GRUModule, LSTMModule, set_recurrent_mode

warnings.filterwarnings("ignore")
STEPS, SIZE = 5, 3
torch.manual_seed(0)
x = torch.randn(1, STEPS, 2)
starts = torch.tensor([1, 0, 0, 1, 0], dtype=torch.bool).reshape(1, STEPS, 1)  # trajectories of 3 and 2 steps
for kind, keys in (LSTMModule, ["h", "c"]), (GRUModule, ["h"]):
    module = kind(input_size=2, hidden_size=SIZE, in_keys=["x", *keys],
                  out_keys=["y", *(("next", key) for key in keys)])
    zeros = {key: torch.zeros(1, STEPS, 1, SIZE) for key in keys}
    with set_recurrent_mode(True):
        whole = module(TensorDict({"x": x, "is_init": starts, **zeros}, [1, STEPS]))
    state, outputs, states = {key: torch.zeros(1, 1, SIZE) for key in keys}, [], []
    for t in range(STEPS):
        with set_recurrent_mode(False):
            step = module(TensorDict({"x": x[:, t], "is_init": starts[:, t], **state}, [1]))
        state = {key: step["next", key] for key in keys}
        outputs.append(step["y"])
        states.append(state["h"])
    outputs, states = torch.stack(outputs, 1), torch.stack(states, 1)
    assert torch.allclose(outputs, whole["y"], atol=1e-6)

    def kinds(h):
        return " ".join("zero" if (h[0, t] == 0).all() else
                        "true" if torch.allclose(h[0, t], states[0, t], atol=1e-6) else "other" for t in range(STEPS))

    print(f"{kind.__name__}: states step by step: {kinds(states)}; of the sequence: {kinds(whole['next', 'h'])}")
CODE
seen=$(venv/bin/python states.py 2>/dev/null)
echo "$seen"
wanted="LSTMModule: states step by step: true true true true true; of the sequence: zero zero true zero true
GRUModule: states step by step: true true true true true; of the sequence: zero zero true zero true"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
