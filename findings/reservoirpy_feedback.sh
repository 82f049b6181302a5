#!/usr/bin/env bash
# reservoirpy 0.4.2: models with feedback, such as a readout that is an input of the reservoir.
#
# - run() does not store the states of the nodes that it has come to, only the buffers of the feedback. A series that one
#   gives it in two parts continues the outputs of the first part with the reservoir's state from before it. step() is
#   right.
# - A node with a parent and feedback gets both as one input, the parent's part first, in step(), run() and fit(). In
#   partial_fit() the feedback's part is first. So a reservoir that learns online has other inputs at each of its input
#   weights than when it runs.
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
from reservoirpy.nodes import RLS, Input, Reservoir

x = np.random.default_rng(0).normal(size=(150, 2))


def model(feedback):
    reservoir, readout = Reservoir(20, lr=0.3, sr=0.9, input_connectivity=1.0, seed=1), RLS()
    made = Input() >> reservoir >> readout
    if feedback:
        made = made & (reservoir << readout)
    made.partial_fit(x[:100], np.roll(x[:100, :1], 1, axis=0))
    return made


for feedback in False, True:
    name = "with" if feedback else "without"
    whole = model(feedback).run(x[100:])
    parts = model(feedback)
    parts = np.concatenate([parts.run(x[100:125]), parts.run(x[125:])])
    steps = model(feedback)
    steps = np.stack([steps.step(u) for u in x[100:]])
    print(f"{name} feedback: run() in two parts is", "as in one;" if np.allclose(whole, parts) else "not as in one;",
          "50 times step() is" if np.allclose(whole, steps) else "50 times step() is not", "as run()")


class Shows(Reservoir):
    """Prints its inputs."""

    def _step(self, state, x):
        print(*x.astype(int))
        return super()._step(state, x)


for method in "step", "partial_fit":
    reservoir, readout = Shows(20, seed=1), RLS()
    made = (Input() >> reservoir >> readout) & (reservoir << readout)
    made.initialize(x, x[:, :1])
    for buffer in made.feedback_buffers.values():
        buffer.fill(7.0)
    print(f"inputs 1 2 and feedback 7 are in {method}():", end=" ")
    if method == "step":
        made.step(np.array([1.0, 2.0]))
    else:
        made.partial_fit(np.array([[1.0, 2.0]]), np.array([[0.0]]))
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="without feedback: run() in two parts is as in one; 50 times step() is as run()
with feedback: run() in two parts is not as in one; 50 times step() is as run()
inputs 1 2 and feedback 7 are in step(): 1 2 7
inputs 1 2 and feedback 7 are in partial_fit(): 7 1 2"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
