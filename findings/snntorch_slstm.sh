#!/usr/bin/env bash
# snntorch 1.0.0: an SLSTM with as many inputs as cells has a memory, another SLSTM has none; LeakyParallel takes no decay
# rate per neuron.
#
# - SLSTM compares the shape of its states with that of its input, where it should with the one that they should have.
#   Where they differ it starts from zeros, in each step: what comes out depends on nothing but the last input. Its own
#   example, with 784 inputs and 1000 cells, is such a layer. States that one passes are ignored as well.
# - LeakyParallel takes a tensor as beta, "a single value or of length 'hidden_size'". One of that length changes nothing:
#   the decay rates stay the random initial weights of torch.nn.RNN, negative ones too.
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
import snntorch
import torch

torch.manual_seed(0)
for inputs, cells in (8, 8), (4, 8), (8, 4):
    layer = snntorch.SLSTM(inputs, cells)
    x = torch.randn(6, 1, inputs)
    state = torch.zeros(1, cells), torch.zeros(1, cells)
    for step in x:
        _, *state = layer(step, *state)
    _, *of_last = layer(x[-1], torch.zeros(1, cells), torch.zeros(1, cells))
    _, *given = layer(x[-1], torch.full((1, cells), 5.0), torch.zeros(1, cells))
    print(f"SLSTM of {inputs} inputs and {cells} cells: after six inputs the state is",
          "that of the last one alone;" if torch.equal(state[1], of_last[1]) else "another than after the last alone;",
          "a state that is passed", "does nothing" if torch.equal(given[1], of_last[1]) else "matters")

for text, beta in ("0.5", 0.5), ("one 0.5", torch.tensor([0.5])), ("three 0.5", torch.tensor([0.5, 0.5, 0.5])):
    torch.manual_seed(0)
    layer = snntorch.LeakyParallel(2, 3, beta=beta)
    print(f"LeakyParallel with {text} as beta decays by", *(f"{v:.2f}" for v in layer.rnn.weight_hh_l0.diagonal()))
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="SLSTM of 8 inputs and 8 cells: after six inputs the state is another than after the last alone; a state that is passed matters
SLSTM of 4 inputs and 8 cells: after six inputs the state is that of the last one alone; a state that is passed does nothing
SLSTM of 8 inputs and 4 cells: after six inputs the state is that of the last one alone; a state that is passed does nothing
LeakyParallel with 0.5 as beta decays by 0.50 0.50 0.50
LeakyParallel with one 0.5 as beta decays by 0.50 0.50 0.50
LeakyParallel with three 0.5 as beta decays by -0.01 -0.17 -0.24"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
