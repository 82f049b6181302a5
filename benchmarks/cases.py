"""The cases of bench.py: the units at the shapes of the experiments, as our ops and in eager PyTorch."""

import math
from dataclasses import dataclass
from typing import Callable

import torch

import eager


@dataclass
class Shape:
    """T steps, B samples and I inputs, and the size of an LSTM with as many parameters as the STPN."""

    steps: int
    batch: int
    inputs: int
    lstm_hidden: int
    x_needs_gradient: bool = False  # if a trained layer precedes the unit


SHAPES = {
    "retrieval": Shape(9, 128, 37, 9),
    "maze": Shape(200, 512, 17, 47),
    "familiarity": Shape(5000, 1, 100, 21),
    "pong": Shape(20, 64, 2592, 48, x_needs_gradient=True),
}

# The fewest vector instructions of a time step for 16 synapses: forward, recomputation in backward, and
# backward. For norm `pre`, forward: add for G; fma for the pre-activation; fma for the norm; mul for
# Lambda F, for 1/n and for Gamma z; fma for the new F. docs/kernels.md lists those of the others.
INSTRUCTIONS = {
    "pre": 7 + 4 + 15,
    "post": 12 + 6 + 22,
    "preactivation": 6 + 3 + 14,
    "modplast": 5 + 3 + 9,
    "fast_weights": 3 + 0 + 6,
}


@dataclass
class Case:
    """One unit at one shape. `ours` and `loop` run forward over the whole sequence: (T, B, H).

    `ours` takes resets, (T, B) bool, or None.
    """

    unit: str
    shape: str
    synapses: int  # of one sample, with a fast weight
    instructions: int  # per step, for 16 synapses
    x: torch.Tensor
    parameters: list
    ours: Callable
    loop: Callable  # takes a step function, eager or compiled
    step: Callable

    def limit_ms(self, fma_rate):
        """Time of the arithmetic alone, at this rate of vector operations of 16 floats per second."""
        steps = self.x.shape[0] * self.x.shape[1]
        return steps * self.synapses / 16 * self.instructions / fma_rate * 1e3


def uniform(*shape, low=-1.0, high=1.0):
    return torch.empty(shape).uniform_(low, high)


def trained(tensor):
    return tensor.requires_grad_()


def given_to(op, state):
    """An initial state of zeros as a module gives it to the op: none, where the build has such calls."""
    if op is None:  # the op library is not loaded, as in benchmarks/gpu/: only the loop runs then
        return state
    arguments = op.default._schema.arguments[1:1 + len(state)]
    return [None if "Optional" in a.type.kind() else zeros for a, zeros in zip(arguments, state)]


def stpn(shape_name, hidden, norm, clamp, recurrent):
    shape = SHAPES[shape_name]
    fan_in = shape.inputs + (hidden if recurrent else 0)
    k = 1 / math.sqrt(hidden if recurrent else shape.inputs)
    p = {
        "weight": trained(uniform(hidden, fan_in) * k),
        "bias": None if norm == "preactivation" else trained(uniform(hidden) * k),
        "weight_lambda": trained(uniform(hidden, fan_in, low=0)),
        "weight_gamma": trained(uniform(hidden, fan_in) * 0.001 * k),
    }
    x = uniform(shape.steps, shape.batch, shape.inputs).requires_grad_(shape.x_needs_gradient)
    h = torch.zeros(shape.batch, hidden)
    F = torch.zeros(shape.batch, hidden, fan_in)
    op = getattr(torch.ops.stpn, "stpn_recurrent" if recurrent else "stpn_feedforward", None)
    state = given_to(op, (h, F) if recurrent else (F,))

    def ours(reset=None):
        return op(x, *state, p["weight"], p["bias"], p["weight_lambda"], p["weight_gamma"],
                  norm=norm, clamp=clamp, reset=reset)[0]

    def loop(step):
        return eager.loop(step, x, (h, F), p, norm, clamp, recurrent)[0]

    return Case("stpn_recurrent" if recurrent else "stpn_feedforward", shape_name,
                hidden * fan_in, INSTRUCTIONS[norm], x, [v for v in p.values() if v is not None],
                ours, loop, eager.stpn_step)


def fast_weights(shape_name, hidden):
    shape = SHAPES[shape_name]
    k = 1 / math.sqrt(hidden)
    p = {
        "weight": trained(uniform(hidden, shape.inputs + hidden) * k),
        "bias": trained(uniform(hidden) * k),
        "layer_norm_weight": trained(torch.ones(hidden)),
        "layer_norm_bias": trained(torch.zeros(hidden)),
    }
    x = uniform(shape.steps, shape.batch, shape.inputs)
    state = torch.zeros(shape.batch, hidden), torch.zeros(shape.batch, hidden, hidden)
    op = getattr(torch.ops.stpn, "fast_weights", None)
    given = given_to(op, state)

    def ours(reset=None):
        return op(x, *given, **p, reset=reset)[0]

    return Case("fast_weights", shape_name, hidden * hidden, INSTRUCTIONS["fast_weights"], x,
                list(p.values()), ours, lambda step: eager.loop(step, x, state, p)[0],
                eager.fast_weights_step)


def modplast(shape_name, hidden):
    shape = SHAPES[shape_name]
    k = 1 / math.sqrt(hidden)
    p = {
        "weight_ih": trained(uniform(hidden, shape.inputs) / math.sqrt(shape.inputs)),
        "bias": trained(uniform(hidden) / math.sqrt(shape.inputs)),
        "weight_hh": trained(uniform(hidden, hidden, low=0) * 0.01),
        "alpha": trained(uniform(hidden, hidden, low=0) * 0.01),
        "modulator_weight": trained(uniform(hidden) * k),
        "modulator_bias": trained(uniform(1) * k),
    }
    x = uniform(shape.steps, shape.batch, shape.inputs)
    state = torch.zeros(shape.batch, hidden), torch.zeros(shape.batch, hidden, hidden)
    op = getattr(torch.ops.stpn, "backpropamine", None)
    given = given_to(op, state)

    def ours(reset=None):
        return op(x, *given, **p, reset=reset)[0]

    return Case("backpropamine", shape_name, hidden * hidden, INSTRUCTIONS["modplast"], x,
                list(p.values()), ours, lambda step: eager.loop(step, x, state, p)[0],
                eager.modplast_step)


CASES = {
    ("stpn_recurrent", "retrieval"): lambda: stpn("retrieval", 11, "pre", None, True),
    ("stpn_recurrent", "maze"): lambda: stpn("maze", 55, "post", 1.0, True),
    ("stpn_recurrent", "familiarity"): lambda: stpn("familiarity", 27, "pre", None, True),
    ("stpn_recurrent", "pong"): lambda: stpn("pong", 64, "pre", None, True),
    ("stpn_feedforward", "retrieval"): lambda: stpn("retrieval", 13, "preactivation", None, False),
    ("stpn_feedforward", "maze"): lambda: stpn("maze", 76, "pre", None, False),
    ("stpn_feedforward", "familiarity"): lambda: stpn("familiarity", 34, "pre", None, False),
    ("backpropamine", "retrieval"): lambda: modplast("retrieval", 17),
    ("backpropamine", "maze"): lambda: modplast("maze", 73),
    ("fast_weights", "retrieval"): lambda: fast_weights("retrieval", 20),
    ("fast_weights", "maze"): lambda: fast_weights("maze", 73),
}
