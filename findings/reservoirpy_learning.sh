#!/usr/bin/env bash
# reservoirpy 0.4.2: nodes that do not learn, and one that reset() does not reset.
#
# - In its fit(), LocalPlasticityReservoir computes each step from the state that it had before: the state never moves on.
#   A new reservoir has zeros, and these are the presynaptic activity in every step. So the rules "hebbian",
#   "anti-hebbian" and "bcm" change no weight, "oja" only shrinks weights and "anti-oja" only blows them up.
# - RLS with fit_bias, its default, is not recursive least squares unless the inputs have a mean of 0: weights and bias
#   each take the whole error for themselves. Of 5000 samples of y = 2 x + 1 without noise it does not find the 2 and the
#   1.
# - NVAR keeps the past inputs outside of its state. reset() leaves them, and each series of a list of them begins with
#   the last inputs of the series before.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 scipy==1.16.3 joblib==1.5.2
venv/bin/pip install -q --no-deps reservoirpy==0.4.2
cat >run.py <<'CODE'
import numpy as np
from reservoirpy.nodes import NVAR, RLS, LocalPlasticityReservoir, Ridge

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 2))
for rule in "hebbian", "anti-hebbian", "bcm", "oja", "anti-oja":
    node = LocalPlasticityReservoir(20, local_rule=rule, eta=0.01, seed=1)
    node.initialize(x)
    before = node.W.toarray()
    node.fit(x)
    after = node.W.toarray()
    ratios = after[before != 0] / before[before != 0]
    print(f"{rule}: after 200 steps the weights are {ratios.min():.1f} to {ratios.max():.1f} times those before, the state is",
          "zero" if not node.state["out"].any() else "not zero")

for mean in 0, 3:
    samples = rng.normal(size=(5000, 1)) + mean
    for node in RLS(), Ridge(ridge=1e-6):
        node.fit(samples, 2 * samples + 1)
        print(f"{type(node).__name__}, inputs of mean {mean}: weight {node.Wout.item():.2f}, bias {np.ravel(node.bias)[0]:.2f}")

new = NVAR(delay=2, order=1).run(x[100:102])
node = NVAR(delay=2, order=1)
node.run(x[:10])
node.reset()
print("NVAR gives after reset()", "what a new one does" if np.allclose(node.run(x[100:102]), new) else "something else")
second = NVAR(delay=2, order=1).run([x[:10], x[100:102]])[1]
print("of the second of two series it gives", "what it does of that alone" if np.allclose(second, new) else "something else")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="hebbian: after 200 steps the weights are 1.0 to 1.0 times those before, the state is zero
anti-hebbian: after 200 steps the weights are 1.0 to 1.0 times those before, the state is zero
bcm: after 200 steps the weights are 1.0 to 1.0 times those before, the state is zero
oja: after 200 steps the weights are 0.0 to 0.1 times those before, the state is zero
anti-oja: after 200 steps the weights are 7.3 to 163.5 times those before, the state is zero
RLS, inputs of mean 0: weight 2.00, bias 1.00
Ridge, inputs of mean 0: weight 2.00, bias 1.00
RLS, inputs of mean 3: weight 1.51, bias 2.55
Ridge, inputs of mean 3: weight 2.00, bias 1.00
NVAR gives after reset() something else
of the second of two series it gives something else"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
