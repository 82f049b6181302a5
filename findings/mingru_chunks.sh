#!/usr/bin/env bash
# minGRU-pytorch 0.2.1: minLSTM cannot be continued by more than one step at a time, and the hybrid's mixture is not one.
#
# - A minLSTM that gets a sequence in parts, with prev_hidden from part to part, makes of parts of one step what it makes
#   of the whole sequence. Parts of two or more steps give something else: there prev_hidden, which is a state, goes
#   through the activation of new inputs once more (x + 0.5). minGRU is right with all of them.
# - minGRUAttnHybrid weighs its two branches with mix and 1 - mix, according to its names. A parenthesis makes that mix
#   and mix (1 - mix): the attention has at most a quarter, and with mix near 0, where it should have all, nothing.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps minGRU-pytorch==0.2.1 einops==0.8.1
cat >run.py <<'CODE'
import torch
from minGRU_pytorch.hybrid import minGRUAttnHybrid
from minGRU_pytorch.minGRU import minGRU
from minGRU_pytorch.minLSTM import minLSTM

torch.manual_seed(0)
torch.set_default_dtype(torch.double)
x = torch.randn(1, 12, 8)
for layer in minGRU(8), minLSTM(8):
    for length in 1, 2, 6:
        state, parts = None, []
        for part in x.split(length, dim=1):
            out, state = layer(part, state, return_next_prev_hidden=True)
            parts.append(out)
        same = torch.allclose(torch.cat(parts, dim=1), layer(x))
        print(f"{type(layer).__name__} in parts of {length}: {'as the whole' if same else 'other outputs'}")

hybrid = minGRUAttnHybrid(8, dim_head=8, heads=1)
for logit in -20.0, 0.0, 20.0:
    with torch.no_grad():
        hybrid.to_mix[1].weight.zero_()
        hybrid.to_mix[1].register_forward_hook(lambda *_, logit=logit: torch.full((1, 12, 1), logit))
        branches = []
        hybrid.to_out = torch.nn.Identity()
        for off in hybrid.attn_out_norm, hybrid.rnn_out_norm:
            off.weight.zero_()  # so that only the other branch is left
            branches.append(hybrid(x).square().mean().sqrt())
            off.weight.fill_(1.0)
    print(f"hybrid with mix {torch.tensor(logit).sigmoid():.1f}: the share of minGRU is {branches[0]:.2f}, "
          f"that of attention {branches[1]:.2f}")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="minGRU in parts of 1: as the whole
minGRU in parts of 2: as the whole
minGRU in parts of 6: as the whole
minLSTM in parts of 1: as the whole
minLSTM in parts of 2: other outputs
minLSTM in parts of 6: other outputs
hybrid with mix 0.0: the share of minGRU is 0.00, that of attention 0.00
hybrid with mix 0.5: the share of minGRU is 0.50, that of attention 0.25
hybrid with mix 1.0: the share of minGRU is 1.00, that of attention 0.00"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
