"""libstpn_cuda.so from PyTorch, through ctypes: the units' CUDA kernels and their references.

For checks and measurements on a machine with a GPU that has torch, and nothing of the project but this
library (stpn/kernels/cuda/CMakeLists.txt). libstpn_cuda_emulated.so has the same functions, and runs
the kernels on the CPU.
"""

import ctypes
import math
from pathlib import Path
from typing import NamedTuple

import torch

REFERENCE, KERNELS = 0, 1
# Choices of the signatures (stpn/kernels/<unit>/signature.h) as the C functions take them.
CHOICES = {
    "norm": ["none", "preactivation", "pre", "post"],
    "connections": ["all", "input", "recurrent"],
    "rule": ["hebb", "oja", "delta"],
    "decay": ["before_update", "after_update"],
    "presynaptic": ["previous", "current"],
    "activation": ["tanh", "sigmoid", "relu", "identity"],
    "neuromodulation": ["modplast", "plastic", "modul"],
    "addition": ["clamp", "soft_clamp", "additive", "decaying"],
    "modulator": ["tanh", "sigmoid", "linear"],
}
# Options by unit, with their defaults.
DEFAULTS = {
    "stpn": {"norm": "pre", "clamp": math.inf, "connections": "all", "rule": "hebb",
             "decay": "before_update", "presynaptic": "previous", "activation": "tanh"},
    "backpropamine": {"neuromodulation": "modplast", "addition": "clamp", "modulator": "tanh"},
    "fast_weights": {"inner_steps": 1, "decay": 0.9, "rate": 0.5},
}
# The parameter whose first dimension is the number of neurons, and the states but for h, by unit.
WEIGHTS = {"stpn": "weight", "backpropamine": "weight_ih", "fast_weights": "weight"}
STATES = {"stpn": ("F", "beta"), "backpropamine": ("P", "E"), "fast_weights": ("A",)}
NOT_DIFFERENTIABLE = ("measured",)
MOST_ROWS, MOST_OPTIONS = 24, 8


class Struct(ctypes.Structure):
    """StpnCudaCall in stpn/kernels/cuda/c_api.h."""

    _fields_ = (
        [(name, ctypes.c_int64)
         for name in ("unit", "steps", "batch", "inputs", "hidden", "is_double", "recurrent", "rates",
                      "scalar_bias_rates")]
        + [("options", ctypes.c_double * MOST_OPTIONS), ("values", ctypes.c_void_p * MOST_ROWS),
           ("finals", ctypes.c_void_p * MOST_ROWS)]
        + [(name, ctypes.c_void_p)
           for name in ("reset", "output", "energy", "saved", "stream", "workspace", "grad_output",
                        "grad_energy")]
        + [("final_gradients", ctypes.c_void_p * MOST_ROWS),
           ("gradients", ctypes.c_void_p * MOST_ROWS)])


class Unit(NamedTuple):
    index: int
    rows: list
    options: list


class Library:
    def __init__(self, path):
        self.emulated = "emulated" in Path(path).name
        self.device = torch.device("cpu" if self.emulated else "cuda")
        self.functions = ctypes.CDLL(str(path))
        number, call, text = ctypes.c_int64, ctypes.POINTER(Struct), ctypes.c_char_p
        for name, returns, *takes in (
                ("unit", text, number), ("rows", text, number), ("options", text, number),
                ("forward", text, call, ctypes.c_int), ("backward", text, call, ctypes.c_int),
                ("saved_size", number, call), ("workspace_size", number, call, ctypes.c_int)):
            function = getattr(self.functions, f"stpn_cuda_{name}")
            function.restype, function.argtypes = returns, takes
        self.units = {}
        while (name := self.functions.stpn_cuda_unit(len(self.units))) is not None:
            index = len(self.units)
            self.units[name.decode()] = Unit(
                index, self.functions.stpn_cuda_rows(index).decode().split(","),
                self.functions.stpn_cuda_options(index).decode().split(","))

    def run(self, function, struct, backend):
        message = getattr(self.functions, f"stpn_cuda_{function}")(ctypes.byref(struct), backend)
        if message is not None:
            raise RuntimeError(message.decode())


def pointer(tensor):
    return None if tensor is None else tensor.data_ptr()


class Call:
    """One call. `tensors` by the names of the signature, contiguous and on one device; absent ones are
    left out. After forward(): output, finals (by name), energy."""

    def __init__(self, library, backend, tensors, reset=None, energy=False, unit="stpn", recurrent=True,
                 **options):
        self.library, self.backend = library, backend
        self.tensors, self.reset, self.with_energy = tensors, reset, energy
        self.unit, self.states = library.units[unit], STATES[unit]
        x = tensors["x"]
        self.like = {"dtype": x.dtype, "device": x.device}
        given = DEFAULTS[unit] | {name: value for name, value in options.items() if value is not None}
        struct = self.struct = Struct()
        struct.unit = self.unit.index
        struct.steps, struct.batch, struct.inputs = x.shape
        struct.hidden = tensors[WEIGHTS[unit]].shape[0]
        struct.is_double = x.dtype == torch.float64
        if unit == "stpn":
            rate = tensors["weight_lambda"]
            struct.recurrent = recurrent
            struct.rates = 0 if rate.dim() == 2 else 2 if rate.numel() == 1 else 1
            struct.scalar_bias_rates = "beta" in tensors and tensors["bias_lambda"].numel() == 1
        for k, name in enumerate(self.unit.options):
            value = given[name]
            struct.options[k] = CHOICES[name].index(value) if isinstance(value, str) else value
        for k, name in enumerate(self.unit.rows):
            struct.values[k] = pointer(tensors.get(name))
        struct.reset = pointer(reset)
        if x.is_cuda:
            struct.stream = torch.cuda.current_stream(x.device).cuda_stream

    def _take_workspace(self, backward):
        if self.backend == REFERENCE:
            return None
        size = self.library.functions.stpn_cuda_workspace_size(ctypes.byref(self.struct), backward)
        workspace = torch.empty(max(size, 0), **self.like)
        self.struct.workspace = pointer(workspace)
        return workspace  # alive until the kernels are queued: torch frees it in the stream's order

    def forward(self, save=True):
        struct = self.struct
        shape = (struct.steps, struct.batch, struct.hidden)
        self.output = torch.empty(shape, **self.like)
        self.energy = torch.empty(shape, **self.like) if self.with_energy else None
        self.finals = {name: torch.empty_like(self.tensors[name])
                       for name in self.states if name in self.tensors}
        struct.output, struct.energy = pointer(self.output), pointer(self.energy)
        for name, final in self.finals.items():
            struct.finals[self.unit.rows.index(name)] = pointer(final)
        self.saved = None
        if save and self.backend == KERNELS:
            size = self.library.functions.stpn_cuda_saved_size(ctypes.byref(struct))
            self.saved = torch.empty(size, **self.like)
        struct.saved = pointer(self.saved)
        workspace = self._take_workspace(False)
        self.library.run("forward", struct, self.backend)
        del workspace
        return self

    def backward(self, grad_output=None, final_gradients=None, grad_energy=None, wanted=None):
        """Gradients by the names of the signature; `wanted`: which, by default all."""
        struct = self.struct
        struct.grad_output, struct.grad_energy = pointer(grad_output), pointer(grad_energy)
        if wanted is None:
            wanted = [name for name in self.tensors if name not in NOT_DIFFERENTIABLE]
        gradients = {name: torch.empty_like(self.tensors[name]) for name in wanted}
        for k, name in enumerate(self.unit.rows):
            struct.gradients[k] = pointer(gradients.get(name))
            struct.final_gradients[k] = pointer((final_gradients or {}).get(name))
        workspace = self._take_workspace(True)
        self.library.run("backward", struct, self.backend)
        del workspace
        return gradients


class Function(torch.autograd.Function):
    """Output and final states of a call, in autograd's graph."""

    @staticmethod
    def forward(ctx, library, settings, names, *tensors):
        call = Call(library, KERNELS, dict(zip(names, (t.detach() for t in tensors))), **settings)
        call.forward(save=any(ctx.needs_input_grad))
        ctx.set_materialize_grads(False)
        ctx.call, ctx.names = call, names
        return call.output, *call.finals.values()

    @staticmethod
    def backward(ctx, grad_output, *final_gradients):
        needed = dict(zip(ctx.names, ctx.needs_input_grad[3:]))
        gradients = ctx.call.backward(
            None if grad_output is None else grad_output.contiguous(),
            {name: grad.contiguous() for name, grad in zip(ctx.call.finals, final_gradients)
             if grad is not None},
            wanted=[name for name in ctx.names if needed[name]])
        ctx.call = None
        return None, None, None, *(gradients.get(name) for name in ctx.names)


def run(library, tensors, **settings):
    """(output, final states but for h), differentiable."""
    return Function.apply(library, settings, tuple(tensors), *tensors.values())
