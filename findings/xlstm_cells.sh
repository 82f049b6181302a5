#!/usr/bin/env bash
# xlstm 2.0.6: parts of its cells that do nothing, or what another part says.
#
# - sLSTMCell.step returns the state that it was given: a loop of steps stays at the first.
# - The argument lengths of sLSTMCell's forward is not used: the last state of a short sequence is that behind its
#   padding.
# - gradient_recurrent_cut and gradient_recurrent_clipval do nothing in the vanilla backend, and forward_clipval does so
#   in any: with CUDA the states are clipped to gradient_recurrent_clipval.
# - In sLSTMLayer the weights fgate make the input gate and igate the forget gate.
# - xLSTMBlockStack.step writes into the state that it is given, so that one cannot go back to it. A copy of its
#   dictionaries does not help: the window of the convolution is overwritten, the memory of the cell is not.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 packaging==25.0 setuptools==80.9.0
venv/bin/pip install -q --no-deps xlstm==2.0.6
cat >run.py <<'CODE'
import torch
from xlstm import (mLSTMBlockConfig, mLSTMLayerConfig, sLSTMLayer, sLSTMLayerConfig, xLSTMBlockStack,
                   xLSTMBlockStackConfig)
from xlstm.blocks.slstm.cell import sLSTMCell, sLSTMCellConfig


def cell(**options):
    torch.manual_seed(0)
    return sLSTMCell(sLSTMCellConfig(hidden_size=8, num_heads=2, backend="vanilla", recurrent_weight_init="standard", **options))


torch.manual_seed(1)
x = torch.randn(1, 5, 32)
outputs, state = cell()(x)
given = torch.zeros(4, 1, 8)
_, returned = cell().step(x[:, :1], given)
print("sLSTMCell.step returns", "the state that it was given" if torch.equal(returned, given) else "a new state")
_, state_of_two = cell()(x, lengths=torch.tensor([2]))
print("with lengths=2 the last state is that of step", [2, 5][torch.equal(state_of_two, state)])


def effect(**options):
    """Whether it changes the outputs, and whether the gradient of the last one for the first input."""
    inputs = x.clone().requires_grad_()
    made, _ = cell(**options)(inputs)
    made[:, :, -1].sum().backward()
    return made, inputs.grad[:, 0]


plain = effect()
for options in {"gradient_recurrent_cut": True}, {"gradient_recurrent_clipval": 1e-9}, {"forward_clipval": 1e-9}:
    same = all(torch.equal(a, b) for a, b in zip(effect(**options), plain))
    flags = [flag for flag in cell(**options).config.defines if "FORWARD_CLIPVAL=" in flag]
    print(*options, "does nothing on CPU," if same else "matters,", "and for CUDA gives", *flags)

layer = sLSTMLayer(sLSTMLayerConfig(embedding_dim=8, num_heads=2, backend="vanilla"))
seen = []
layer.slstm_cell.register_forward_hook(lambda module, args, output: seen.append(args[0][0, 0]))
for gate in "igate", "fgate":
    for name in "igate", "fgate", "zgate", "ogate":
        getattr(layer, name).weight.data.fill_(float(name == gate))
    layer(torch.ones(1, 1, 8))
    parts = [name for name, part in zip(("input", "forget", "cell", "output"), seen.pop().chunk(4)) if part.any()]
    print(f"sLSTMLayer.{gate} makes the gate:", *parts)

torch.manual_seed(0)
stack = xLSTMBlockStack(xLSTMBlockStackConfig(mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(num_heads=2)),
                                              num_blocks=1, embedding_dim=16, context_length=8))
_, kept = stack.step(torch.randn(1, 1, 16))
copy = {block: dict(states) for block, states in kept.items()}
before = {name: [part.clone() for part in parts] for name, parts in copy["block_0"].items()}
stack.step(torch.randn(1, 1, 16), kept)
print("a copy of the dictionaries of a state, after a step from the state:",
      *(f"{name} {'as before' if all(map(torch.equal, parts, before[name])) else 'overwritten'};"
        for name, parts in copy["block_0"].items()))
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="sLSTMCell.step returns the state that it was given
with lengths=2 the last state is that of step 5
gradient_recurrent_cut does nothing on CPU, and for CUDA gives -DSLSTM_FORWARD_CLIPVAL=0.0
gradient_recurrent_clipval does nothing on CPU, and for CUDA gives -DSLSTM_FORWARD_CLIPVAL=1e-09
forward_clipval does nothing on CPU, and for CUDA gives -DSLSTM_FORWARD_CLIPVAL=0.0
sLSTMLayer.igate makes the gate: forget
sLSTMLayer.fgate makes the gate: input
a copy of the dictionaries of a state, after a step from the state: mlstm_state as before; conv_state overwritten;"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
