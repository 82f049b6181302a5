#!/usr/bin/env bash
# rl-games 1.6.5: its LSTM and GRU do not see the end of an episode in a batch of one sequence.
#
# LSTMWithDones and GRUWithDones (the layers behind "rnn" in a network's configuration) get masks of where an episode has
# ended, and set the states to zero there. To find the steps they squeeze the masks, of shape (steps, sequences, 1). With
# one sequence that takes away the axis of sequences too, so that steps are taken for sequences: no end within the
# sequence is found, and the state goes on into the next episode. With two sequences all is right. A batch of one sequence
# comes of minibatch_size equal to seq_length.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps rl-games==1.6.5
cat >run.py <<'CODE'
import torch
from rl_games.common.layers.recurrent import GRUWithDones, LSTMWithDones

torch.manual_seed(0)
for kind, number in (LSTMWithDones, 2), (GRUWithDones, 1):
    layer = kind(2, 3)
    for sequences in 2, 1:
        x = torch.randn(6, sequences, 2)
        dones = torch.zeros(6, sequences, 1)
        dones[3] = 1  # the second episode begins in step 3

        def zeros():
            state = tuple(torch.zeros(1, sequences, 3) for _ in range(number))
            return state if number == 2 else state[0]

        both = layer(x, zeros(), dones)[0]
        alone = layer(x[3:], zeros())[0]
        print(f"{kind.__name__}, {sequences} sequence(s): the second episode is",
              "as if it were alone" if torch.allclose(both[3:], alone) else "another than alone")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="LSTMWithDones, 2 sequence(s): the second episode is as if it were alone
LSTMWithDones, 1 sequence(s): the second episode is another than alone
GRUWithDones, 2 sequence(s): the second episode is as if it were alone
GRUWithDones, 1 sequence(s): the second episode is another than alone"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
