#!/usr/bin/env bash
# NEST 3.10.0: the variables of short-term plasticity, read from a synapse, are those of its last spike, however long
# ago that was; and x is the resources before the release in tsodyks2_synapse, but after it in tsodyks_synapse.
#
# Between spikes the state is not computed: after a second of silence with a recovery of 100 ms x is still depressed.
# To record x, apply the recovery from the last spike to now. The models differ in the releases too: in
# tsodyks_synapse resources recover only after they have been active for tau_psc, so the second spike releases
# 0.267 where tsodyks2_synapse releases 0.274.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nest-simulator==3.10.0
cat >read.py <<'CODE'
import nest

nest.verbosity = nest.VerbosityLevel.ERROR
for model in "tsodyks2_synapse", "tsodyks_synapse":
    nest.ResetKernel()
    spikes = nest.Create("spike_generator", params={"spike_times": [10.0, 20.0]})
    before, after = nest.Create("parrot_neuron"), nest.Create("iaf_psc_exp")
    nest.Connect(spikes, before)
    nest.Connect(before, after, syn_spec={"synapse_model": model, "weight": 1.0, "U": 0.5, "u": 0.5, "tau_rec": 100.0,
                                          "tau_fac": 0.0})
    synapse = nest.GetConnections(before, after)
    seen = []
    for time in 15.0, 10.0, 1000.0:  # after the first spike, after the second, a second later
        nest.Simulate(time)
        seen.append(f"{synapse.get('x'):.3f}")
    print(f"{model}: x", *seen)
CODE
seen=$(venv/bin/python read.py | grep ': x')
echo "$seen"
wanted="tsodyks2_synapse: x 1.000 0.548 0.548
tsodyks_synapse: x 0.500 0.267 0.267"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
