#!/usr/bin/env bash
# rliable 1.2.0: the seed of its confidence intervals decides nothing, and that of a mean over the training is too narrow.
#
# - get_interval_estimates and StratifiedBootstrap take a random_state, to make the intervals reproducible. They draw
#   from numpy's global generator instead: one seed gives two intervals, and numpy.random.seed decides.
# - Scores may be of shape (runs, tasks, points in the training). The bootstrap draws for each point by itself from which
#   run its score is, in place of whole runs. So the interval of a mean over the points (the area under the curve) is the
#   narrower the more points there are, also where the points of a run have all the same score: with 100 of them it is a
#   tenth as wide as it should be.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 arch==7.2.0 rliable==1.2.0
cat >run.py <<'CODE'
import numpy
from rliable.library import get_interval_estimates

scores = numpy.random.RandomState(0).rand(10, 5)


def interval(scores, **options):
    """The confidence interval of the mean."""
    return get_interval_estimates({"a": scores}, lambda x: numpy.array([x.mean()]), reps=2000, **options)[1]["a"]


def same(a, b):
    return "the same interval" if (a == b).all() else "other intervals"


numpy.random.seed(0)
a, b = (interval(scores, random_state=numpy.random.RandomState(7)) for _ in range(2))
print("twice with RandomState(7):", same(a, b))
pair = []
for seed in 7, 8:
    numpy.random.seed(0)
    pair.append(interval(scores, random_state=numpy.random.RandomState(seed)))
print("with RandomState(7) and RandomState(8), both after numpy.random.seed(0):", same(*pair))

runs = numpy.random.RandomState(1).rand(10, 1, 1)
for points in 1, 10, 100, 1000:
    low, high = interval(runs.repeat(points, axis=2)).ravel()
    print(f"ten runs of {points} points each, all points of a run equal: interval of width {high - low:.2f}")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="twice with RandomState(7): other intervals
with RandomState(7) and RandomState(8), both after numpy.random.seed(0): the same interval
ten runs of 1 points each, all points of a run equal: interval of width 0.26
ten runs of 10 points each, all points of a run equal: interval of width 0.08
ten runs of 100 points each, all points of a run equal: interval of width 0.03
ten runs of 1000 points each, all points of a run equal: interval of width 0.01"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
