#!/usr/bin/env bash
# bindsnet 0.3.4: Network.reset_state_variables(), which is called between two samples, leaves the traces of the rules of
# reward-modulated plasticity (MSTDP, MSTDPET) as they were. A reward in the next sample, in which nothing
# happens, then changes the weights by the spikes of the last one.
#
# The neurons' own traces, which the other rules use, are reset. The rules' are kept in attributes that only their update
# makes and reads.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps bindsnet==0.3.4
cat >run.py <<'CODE'
import importlib
import pathlib
import sys
import sysconfig
import types

import torch

# Without bindsnet's own __init__.py, which wants the libraries of its data sets and environments.
package = types.ModuleType("bindsnet")
package.__path__ = [str(pathlib.Path(sysconfig.get_paths()["purelib"], "bindsnet"))]
sys.modules["bindsnet"] = package
network = importlib.import_module("bindsnet.network")
learning = importlib.import_module("bindsnet.learning")


def change_in_silence(rule, after_spikes):
    torch.manual_seed(1)
    net = network.Network(dt=1.0)
    source, target = network.nodes.Input(n=3, traces=True), network.nodes.LIFNodes(n=2, traces=True)
    connection = network.topology.Connection(source, target, w=torch.full((3, 2), 20.0), update_rule=rule, nu=(0.1, 0.1),
                                             reduction=torch.sum)
    net.add_layer(source, "source")
    net.add_layer(target, "target")
    net.add_connection(connection, "source", "target")
    spikes = torch.ones(20, 1, 3) if after_spikes else torch.zeros(20, 1, 3)
    net.run(inputs={"source": spikes}, time=20, reward=0.0)
    net.reset_state_variables()
    before = connection.w.detach().clone()
    net.run(inputs={"source": torch.zeros(20, 1, 3)}, time=20, reward=1.0)
    return (connection.w - before).abs().max().item()


for rule in learning.MSTDP, learning.MSTDPET, learning.PostPre:
    changes = [change_in_silence(rule, spikes) for spikes in (False, True)]
    print(f"{rule.__name__}: a sample without spikes changes the weights:",
          ", ".join(f"after one {which} spikes, {'yes' if change > 0 else 'no'}"
                    for which, change in zip(("without", "with"), changes)))
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="MSTDP: a sample without spikes changes the weights: after one without spikes, no, after one with spikes, yes
MSTDPET: a sample without spikes changes the weights: after one without spikes, no, after one with spikes, yes
PostPre: a sample without spikes changes the weights: after one without spikes, no, after one with spikes, no"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
