#!/usr/bin/env bash
# nirtorch 2.6: what its default mappings leave out of a network, without a word.
#
# - nir_to_torch makes of an Affine node a Linear layer with the node's weights and a random bias: it stores the node's
#   bias as an attribute of the weights.
# - Of a SumPool2d node it leaves out the padding, so that the output has another shape than the graph says.
# - torch_to_nir treats each addition as two edges into one node. So a constant or a parameter that is added is not in the
#   graph, and y + y is y.
# - A mapping of torch.nn.Linear that one gives to torch_to_nir is not used: the default has priority.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 h5py==3.15.1
venv/bin/pip install -q --no-deps nir==1.0.8 nirtorch==2.6
cat >run.py <<'CODE'
import nir
import nirtorch
import numpy as np
import torch


def graph(node, shape_in, shape_out):
    return nir.NIRGraph({"input": nir.Input(np.array(shape_in)), "node": node, "output": nir.Output(np.array(shape_out))},
                        [("input", "node"), ("node", "output")])


affine = graph(nir.Affine(np.eye(2, dtype=np.float32), np.array([3, 4], dtype=np.float32)), [2], [2])
outputs = []
for seed in 0, 1:
    torch.manual_seed(seed)
    outputs.append(nirtorch.nir_to_torch(affine, {})(torch.zeros(1, 2))[0])
print("an Affine node with bias 3, 4 has it in torch:", torch.equal(outputs[0], torch.tensor([[3.0, 4.0]])))
print("the bias is the same each time:", torch.equal(*outputs))

pool = graph(nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1])), [1, 4, 4], [1, 3, 3])
print("SumPool2d with padding 1: the graph says", pool.nodes["node"].output_type["output"].tolist(), "and torch",
      list(nirtorch.nir_to_torch(pool, {})(torch.ones(1, 1, 4, 4))[0].shape[1:]))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2, bias=False)
        self.offset = torch.nn.Parameter(torch.ones(2))


class Constant(Net):
    def forward(self, x):
        return self.layer(x) + 5.0


class Parameter(Net):
    def forward(self, x):
        return self.layer(x) + self.offset


class Twice(Net):
    def forward(self, x):
        y = self.layer(x)
        return y + y


for net in Constant(), Parameter(), Twice():
    made = nirtorch.torch_to_nir(net, {})
    print(f"{type(net).__name__}:", *(f"{name} ({type(node).__name__})" for name, node in made.nodes.items()),
          "with", *(" -> ".join(edge) for edge in made.edges))

own = {torch.nn.Linear: lambda layer: nir.Linear(10 * layer.weight.detach().numpy())}
layer = torch.nn.Linear(2, 2, bias=False)
made = nirtorch.torch_to_nir(torch.nn.Sequential(layer), own)
factor = made.nodes["_0"].weight / layer.weight.detach().numpy()
print(f"a mapping of Linear that makes the weights 10 times as large makes them {factor.mean():.0f} times as large")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="an Affine node with bias 3, 4 has it in torch: False
the bias is the same each time: False
SumPool2d with padding 1: the graph says [1, 3, 3] and torch [1, 2, 2]
Constant: x (Input) layer (Linear) output (Output) with x -> layer layer -> output
Parameter: x (Input) layer (Linear) output (Output) with x -> layer layer -> output
Twice: x (Input) layer (Linear) output (Output) with x -> layer layer -> output
a mapping of Linear that makes the weights 10 times as large makes them 1 times as large"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
