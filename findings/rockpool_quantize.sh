#!/usr/bin/env bash
# rockpool 3.1.0: what global_quantize and channel_quantize make of a network for a Xylo chip is not the network times a
# factor, even where rounding plays no part.
#
# - global_quantize multiplies the biases of the output neurons by the factor of the hidden ones, not by that of
#   their weights and thresholds.
# - With fuzzy_scaling=True it scales "and clips" weights to two standard deviations, says the description. It does not clip,
#   so that weights do not fit the 8 bits.
# - channel_quantize scales biases of hidden neurons only where there are two synapses: of a network with one they are rounded
#   as they are, 0.3 to 0.
# - It also writes the scaled biases into the arrays that it was given.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6
venv/bin/pip install -q --no-deps rockpool==3.1.0
cat >run.py <<'CODE'
import importlib.util
import pathlib
import sysconfig

import numpy as np

path = pathlib.Path(sysconfig.get_paths()["purelib"], "rockpool/transform/quantize_methods.py")
spec = importlib.util.spec_from_file_location("quantize_methods", path)
methods = importlib.util.module_from_spec(spec)
spec.loader.exec_module(methods)


def network(synapses=1):
    """Two inputs, two hidden neurons, one output. The factor of the hidden part is 127, of the output part 127 / 2."""
    w_in = np.zeros((2, 2, synapses))
    w_in[:, :, 0] = [[1.0, 0.5], [-0.5, 1.0]]
    return dict(weights_in=w_in, weights_rec=np.zeros((2, 2, synapses)), weights_out=np.array([[2.0], [-1.0]]),
                threshold=np.array([1.0, 1.0]), threshold_out=np.array([2.0]), bias=np.array([0.3, 0.3]),
                bias_out=np.array([1.0]), **{f"dash_{name}": np.ones(2) for name in ("mem", "syn", "syn_2")},
                **{f"dash_{name}": np.ones(1) for name in ("mem_out", "syn_out")})


made = methods.global_quantize(**network())
print("global_quantize: weight 2, threshold 2 and bias 1 of the output become",
      made["weights_out"][0, 0], made["threshold_out"][0], "and", made["bias_out"][0])
wide = network()
wide["weights_in"] = np.concatenate([np.full((2, 200, 1), 0.1), np.full((2, 1, 1), 5.0)], axis=1)
wide["weights_rec"] = np.zeros((201, 201, 1))
print("with fuzzy_scaling the largest weight of 8 bits is",
      methods.global_quantize(**wide, fuzzy_scaling=True)["weights_in"].max())
for synapses in 1, 2:
    given = network(synapses)
    made = methods.channel_quantize(**given)
    print(f"channel_quantize, synapses of a neuron {synapses}: threshold 1 and bias 0.3 become {made['threshold'][0]} and "
          f"{made['bias'][0]}; afterwards the given biases are {given['bias'][0]:g} and {given['bias_out'][0]:g}")
CODE
seen=$(venv/bin/python run.py)
echo "$seen"
wanted="global_quantize: weight 2, threshold 2 and bias 1 of the output become 127 127 and 127
with fuzzy_scaling the largest weight of 8 bits is 780
channel_quantize, synapses of a neuron 1: threshold 1 and bias 0.3 become 127 and 0; afterwards the given biases are 0.3 and 64
channel_quantize, synapses of a neuron 2: threshold 1 and bias 0.3 become 127 and 38; afterwards the given biases are 38 and 64"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
