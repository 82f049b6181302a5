"""What the Python modules cost over their ops: forward and backward of an STPN at the size of retrieval.

PYTHONPATH=python .venv/bin/python benchmarks/python_module.py
"""

import time

import stpn
import torch

STEPS, SAMPLES, INPUTS, NEURONS = 9, 128, 37, 11
CALLS = 150


def main():
    torch.set_num_threads(1)
    unit = stpn.STPN(INPUTS, NEURONS)
    x = torch.nn.functional.one_hot(torch.randint(INPUTS, (STEPS, SAMPLES)), INPUTS).float()
    parameters = list(unit.parameters())

    def op():
        h, F = torch.zeros(SAMPLES, NEURONS), torch.zeros(SAMPLES, NEURONS, INPUTS + NEURONS)
        return torch.ops.stpn.stpn_recurrent(x, h, F, *parameters)[0]

    compiled = torch.compile(unit, fullgraph=True)
    ways = {"op": op, "module": lambda: unit(x)[0], "compiled module": lambda: compiled(x)[0]}
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(CALLS):  # interleaved, so that what else the machine does meets all alike
        for name, way in ways.items():
            begin = time.perf_counter()
            way()[-1].sum().backward()
            least[name] = min(least[name], time.perf_counter() - begin)
    for name, seconds in least.items():
        print(f"{name:16} {1e6 * seconds:7.0f} us   {seconds / least['op']:.2f} of the op")


if __name__ == "__main__":
    main()
