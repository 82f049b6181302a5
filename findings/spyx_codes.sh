#!/usr/bin/env bash
# spyx 1.0.0: a loss that no spike rate can meet, population codes with as many outputs as neurons per class, an angle
# code with a neuron too many, shifts that are never the largest one, and NIR graphs with another gain.
#
# - mse_spikerate(sparsity) is said to want the right neuron to spike in that part of the steps. It multiplies that by
#   the number of steps, but takes the mean of the spikes. With 20 steps and 0.25 it wants 5 spikes per step: the best
#   is to spike always, and who spikes in a quarter of the steps does worse.
# - PopulationCode(num_classes) adds up num_classes neurons at a time, and returns as many sums as there are neurons per
#   class, one after the other for all samples of a batch.
# - The last neuron of angle_code is for the values from max_val on: between min_val and max_val it is never the one.
# - shift_augment(max_shift) shifts by -max_shift to max_shift - 1.
# - to_nir writes the decay rate as the resistance R of a LIF neuron. By NIR's equation a constant input of 1 brings its
#   potential to R, in spyx it comes to 1 / (1 - beta). from_nir ignores R and v_leak, so that spyx does not notice.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 nir==1.0.8 spyx==1.0.0
cat >run.py <<'CODE'
import jax
import jax.numpy as jnp
import nir
import numpy as np
from flax import nnx
from spyx.data import angle_code, shift_augment
from spyx.fn import mse_spikerate
from spyx.nir import from_nir, to_nir
from spyx.nn import LIF, PopulationCode, Sequential, run

for rate in 0.25, 0.5, 1.0:
    spikes = jnp.zeros((1, 20, 2)).at[0, : int(20 * rate), 0].set(1)
    loss = mse_spikerate(sparsity=0.25)(spikes, jnp.array([0]))
    print(f"mse_spikerate(0.25) of a right neuron that spikes in {rate:.0%} of 20 steps: {loss:.1f}")

neurons = jnp.eye(12)[:2] + 10 * jnp.eye(12)[3:5]  # two samples
print("PopulationCode(3) of 12 neurons:", *(f"{v:.0f}" for v in PopulationCode(3)(neurons[0])))
print("PopulationCode(3) of two samples: shape", PopulationCode(3)(neurons).shape)

codes = angle_code(4, 0.0, 1.0)(jnp.linspace(0, 0.999, 999))
print("angle_code of 999 values from 0 to 0.999: the 4 neurons are chosen", *(int(v) for v in codes.sum(0)), "times")

shift = shift_augment(max_shift=2)
shifts = {int(shift(jnp.eye(9)[4], key).argmax()) - 4 for key in jax.random.split(jax.random.key(0), 300)}
print("shift_augment(2) has shifted by", *sorted(shifts))

neuron = LIF((1,), beta=0.9, threshold=1e6, rngs=nnx.Rngs(0))
_, state = run(neuron, jnp.ones((300, 1, 1)))
graph = to_nir(Sequential(neuron), {"input": np.array([1])}, {"output": np.array([1])})
resistance = graph.nodes["layer_0"].r[0]
print(f"LIF: a constant input of 1 brings the potential to {state.item():.2f}, and R in NIR is {resistance:.2f}")

inputs = jax.random.uniform(jax.random.key(0), (100, 1, 1))
for r, leak in (1.0, 0.0), (100.0, 0.0), (1.0, -50.0):
    lif = nir.LIF(tau=np.array([10.0]), r=np.array([r]), v_leak=np.array([leak]), v_threshold=np.array([1.0]))
    graph = nir.NIRGraph(
        {"input": nir.Input({"input": np.array([1])}), "lif": lif, "output": nir.Output({"output": np.array([1])})},
        [("input", "lif"), ("lif", "output")])
    _, spikes = from_nir(graph, inputs)
    print(f"from_nir of a LIF neuron with R = {r:.0f} and v_leak = {leak:.0f}: {spikes.sum():.0f} spikes")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="mse_spikerate(0.25) of a right neuron that spikes in 25% of 20 steps: 11.3
mse_spikerate(0.25) of a right neuron that spikes in 50% of 20 steps: 10.1
mse_spikerate(0.25) of a right neuron that spikes in 100% of 20 steps: 8.0
PopulationCode(3) of 12 neurons: 1 10 0 0
PopulationCode(3) of two samples: shape (8,)
angle_code of 999 values from 0 to 0.999: the 4 neurons are chosen 333 333 333 0 times
shift_augment(2) has shifted by -2 -1 0 1
LIF: a constant input of 1 brings the potential to 10.00, and R in NIR is 0.90
from_nir of a LIF neuron with R = 1 and v_leak = 0: 44 spikes
from_nir of a LIF neuron with R = 100 and v_leak = 0: 44 spikes
from_nir of a LIF neuron with R = 1 and v_leak = -50: 44 spikes"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
