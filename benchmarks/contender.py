"""What the benchmarks of units time: a case of cases.py as our op and as an nn.LSTM."""

import time

import torch

import cases

TURN_S = 0.02


class Contender:
    """Runs forward, then backward from a fixed random gradient of the output."""

    def __init__(self, forward, inputs):
        self.forward = forward
        self.inputs = inputs
        self.cotangent = None
        self.forward_s, self.total_s = [], []  # time of a call, one value per turn
        self.measured_s = 0.0

    def run(self):
        start = time.perf_counter()
        output = self.forward()
        middle = time.perf_counter()
        if self.cotangent is None:
            self.cotangent = torch.rand_like(output)
            middle = time.perf_counter()
        output.backward(self.cotangent)
        end = time.perf_counter()
        for tensor in self.inputs:
            tensor.grad = None
        return middle - start, end - start

    def measure(self):
        """Runs one turn and records the mean times of its calls."""
        calls, forward, total = 0, 0.0, 0.0
        while total < TURN_S:
            times = self.run()
            calls, forward, total = calls + 1, forward + times[0], total + times[1]
        self.forward_s.append(forward / calls)
        self.total_s.append(total / calls)
        self.measured_s += total


def inputs_of(case, parameters):
    """The tensors whose gradients a call computes."""
    return list(parameters) + ([case.x] if case.x.requires_grad else [])


def lstm(case):
    shape = cases.SHAPES[case.shape]
    unit = torch.nn.LSTM(shape.inputs, shape.lstm_hidden)
    return Contender(lambda: unit(case.x)[0], inputs_of(case, unit.parameters()))


def ours(case):
    return Contender(case.ours, inputs_of(case, case.parameters))


def check_key(parser, key):
    if tuple(key) not in cases.CASES:
        known = ", ".join(" ".join(k) for k in cases.CASES)
        parser.error(f"there is no {' '.join(key)}; there are: {known}")
