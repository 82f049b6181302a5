#!/usr/bin/env bash
# avalanche-lib 0.6.0: on the CPU, SynapticIntelligencePlugin does nothing.
#
# It keeps the weights of before and after each update as detach().cpu().flatten(). For a contiguous weight on the CPU
# none of the three makes a copy, so both are the weight itself: their difference is 0 and so is each importance. The
# weights of the last experience, from which it should not go far, are the present ones too. Training is as without the
# plugin, whatever si_lambda is. With a GPU .cpu() copies. Here an optimizer that puts new tensors in place of the old
# ones makes the difference.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 typing_extensions==4.15.0
venv/bin/pip install -q --no-deps avalanche-lib==0.6.0
cat >run.py <<'CODE'
import importlib
import pathlib
import sys
import sysconfig
import types

import torch

# Only the plugin and what it builds on, without the data sets that avalanche imports.
root = pathlib.Path(sysconfig.get_paths()["purelib"], "avalanche")
for name in "", ".training", ".training.plugins", ".models":
    package = types.ModuleType("avalanche" + name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    sys.modules["avalanche" + name] = package
for name in "", ".scenarios", ".utils", ".utils.flat_data":
    package = types.ModuleType("avalanche.benchmarks" + name)
    package.CLExperience = package.OnlineCLExperience = package.ConstantSequence = type("Unused", (), {})
    package._make_taskaware_classification_dataset = None
    sys.modules["avalanche.benchmarks" + name] = package
Plugin = importlib.import_module("avalanche.training.plugins.synaptic_intelligence").SynapticIntelligencePlugin


class NewTensors(torch.optim.Optimizer):
    """Gradient descent that puts a new tensor in the place of the old one."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad


def train(optimizer, si_lambda):
    """Two experiences with different targets, with the steps in avalanche's order. Returns the weights."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    plugin = Plugin(si_lambda=si_lambda)
    strategy = types.SimpleNamespace(model=model, device="cpu", clock=types.SimpleNamespace(train_exp_counter=0))
    optimizer = optimizer(model.parameters(), lr=0.1)
    for experience, target in enumerate((1.0, -1.0)):
        strategy.clock.train_exp_counter = experience
        plugin.before_training_exp(strategy)
        for _ in range(20):
            plugin.before_training_iteration(strategy)
            optimizer.zero_grad()
            strategy.loss = (model(torch.ones(8, 4)) - target).square().mean()
            plugin.before_backward(strategy)
            strategy.loss.backward()
            optimizer.step()
            plugin.after_training_iteration(strategy)
        plugin.after_training_exp(strategy)
    return model.weight.detach().clone(), max(float(part.data.max()) for part in plugin.ewc_data[1].values())


for optimizer in torch.optim.SGD, torch.optim.Adam, NewTensors:
    (without, _), (strong, importance) = train(optimizer, 0.0), train(optimizer, 1e4)
    print(f"{optimizer.__name__}: the largest importance is {abs(importance):.3f}; with si_lambda = 10000 the weights are",
          "the same as without" if torch.equal(without, strong) else "others")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="SGD: the largest importance is 0.000; with si_lambda = 10000 the weights are the same as without
Adam: the largest importance is 0.000; with si_lambda = 10000 the weights are the same as without
NewTensors: the largest importance is 0.001; with si_lambda = 10000 the weights are others"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
