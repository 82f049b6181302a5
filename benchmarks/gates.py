"""Times the STPN with gates and rule `delta` against the same unit without: forward and backward at
the sizes of the experiments, in turns, medians. Prints the time over that of the plain unit.

    .venv/bin/python benchmarks/gates.py [--threads 1] [--rounds 15]
"""

import argparse
import math
import os
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
import stpn  # noqa: E402

SHAPES = {"retrieval": (9, 128, 37, 11), "maze": (200, 512, 17, 55), "joint": (32, 32, 130, 44)}
VARIANTS = {
    "plain": {},
    "update": {"update_gate": True},
    "write": {"write_gate": True},
    "update, write": {"update_gate": True, "write_gate": True},
    "all gates": {"update_gate": True, "write_gate": True, "decay_gate": True},
    "delta": {"rule": "delta"},
    "delta, update, write": {"rule": "delta", "update_gate": True, "write_gate": True},
}


def seconds(unit, x, cotangent):
    start = time.perf_counter()
    output, _ = unit(x)
    output.backward(cotangent)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(1)
    print(f"{given.threads} threads; time over that of the plain unit, and ms of the plain unit")
    for shape, (steps, batch, inputs, hidden) in SHAPES.items():
        x = torch.empty(steps, batch, inputs).uniform_(-1, 1)
        cotangent = torch.rand(steps, batch, hidden)
        units = {name: stpn.STPN(inputs, hidden, **options) for name, options in VARIANTS.items()}
        times = {name: [] for name in units}
        calls = max(1, math.ceil(1e5 / (steps * batch)))
        for round in range(given.rounds + 1):
            for name, unit in units.items():
                spent = sum(seconds(unit, x, cotangent) for _ in range(calls)) / calls
                if round > 0:  # the first allocates memory
                    times[name].append(spent)
        plain = statistics.median(times["plain"])
        print(f"{shape}: {plain * 1e3:.3f} ms")
        for name in list(units)[1:]:
            print(f"  {name:22} {statistics.median(times[name]) / plain:.2f}")


if __name__ == "__main__":
    main()
