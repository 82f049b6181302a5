"""Steps a trained STPN without torch: NumPy, and a library of half a megabyte.

    from stpn.runtime import Network
    network = Network("results/maze/published/stpn/seed1")  # a run folder or a checkpoint
    memory = network.memory()                               # the state of one sample
    h = memory.step(x)                                      # one time step, x (I)
    logits = memory.output("policy")                        # network.heads has the outputs

A network is constant: any number of threads may use it, each with memories of its own. Units:
stpn_recurrent and stpn_feedforward. The library is libstpn_runtime.so; in C it has the same functions
(stpn/runtime/stpn_runtime.h).
"""

import ctypes
import os
from ctypes import POINTER, c_char_p, c_float, c_int64, c_size_t, c_void_p
from typing import Any

import numpy
from numpy.typing import ArrayLike, NDArray

from stpn.library import find

Floats = NDArray[numpy.float32]


class NetworkError(Exception):
    """A file that is no network which the runtime runs. The message is one line."""


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    functions: dict[str, tuple[Any, list[Any]]] = {
        "stpn_load": (c_void_p, [c_char_p, c_char_p, c_size_t]),
        "stpn_free": (None, [c_void_p]),
        "stpn_inputs": (c_int64, [c_void_p]),
        "stpn_neurons": (c_int64, [c_void_p]),
        "stpn_plastic": (c_int64, [c_void_p]),
        "stpn_head_name": (c_char_p, [c_void_p, c_int64]),
        "stpn_head_size": (c_int64, [c_void_p, c_int64]),
        "stpn_new_memory": (c_void_p, [c_void_p]),
        "stpn_free_memory": (None, [c_void_p]),
        "stpn_reset": (None, [c_void_p]),
        "stpn_step": (None, [c_void_p, POINTER(c_float)]),
        "stpn_output": (None, [c_void_p, c_int64, POINTER(c_float)]),
        "stpn_h": (POINTER(c_float), [c_void_p]),
        "stpn_F": (POINTER(c_float), [c_void_p]),
        "stpn_beta": (POINTER(c_float), [c_void_p]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_LIBRARY = _declared(ctypes.CDLL(str(find("runtime", "libstpn_runtime.so", "STPN_RUNTIME"))))


class Network:
    """A trained unit and the linear heads on its activity: how many inputs, neurons and plastic inputs
    of a neuron it has, and in `heads` the size of each output by name."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """path: a checkpoint, or a run folder, of which the best weights count, else the last.
        Raises NetworkError."""
        error = ctypes.create_string_buffer(1000)
        self._handle = _LIBRARY.stpn_load(os.fsencode(path), error, len(error))
        if self._handle is None:
            raise NetworkError(error.value.decode(errors="replace"))
        self.inputs: int = _LIBRARY.stpn_inputs(self._handle)
        self.neurons: int = _LIBRARY.stpn_neurons(self._handle)
        self.plastic: int = _LIBRARY.stpn_plastic(self._handle)
        self.heads: dict[str, int] = {}  # the sizes by name, in the library's order
        while (name := _LIBRARY.stpn_head_name(self._handle, len(self.heads))) is not None:
            self.heads[name.decode()] = _LIBRARY.stpn_head_size(self._handle, len(self.heads))

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            _LIBRARY.stpn_free(self._handle)

    def memory(self) -> "Memory":
        """A memory with a state of zeros."""
        return Memory(self)


class Memory:
    """The state of one sample: h (H), F (H, P) and, with a plastic bias, beta (H), else None. They are
    views of the library's memory: what is written into them is the state of the next step."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._handle = _LIBRARY.stpn_new_memory(network._handle)
        if self._handle is None:
            raise MemoryError("not enough memory for the state of a sample")
        H, P = network.neurons, network.plastic
        self.h: Floats = self._view(_LIBRARY.stpn_h(self._handle), H)
        self.F: Floats = self._view(_LIBRARY.stpn_F(self._handle), H * P).reshape(H, P)
        beta = _LIBRARY.stpn_beta(self._handle)
        self.beta: Floats | None = self._view(beta, H) if beta else None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            _LIBRARY.stpn_free_memory(self._handle)

    def _view(self, values: Any, count: int) -> Floats:
        array: Any = ctypes.cast(values, POINTER(c_float * count)).contents
        array._memory = self  # a view keeps alive what it looks into
        return numpy.frombuffer(array, numpy.float32)

    def reset(self) -> None:
        """A state of zeros, for a new sequence or episode."""
        _LIBRARY.stpn_reset(self._handle)

    def step(self, x: ArrayLike) -> Floats:
        """One time step with the inputs x (I). Returns h (H), a copy. Raises ValueError for another shape."""
        inputs = numpy.ascontiguousarray(x, numpy.float32)
        if inputs.shape != (self.network.inputs,):
            raise ValueError(f"x has the shape {inputs.shape}: the network has {self.network.inputs} inputs")
        _LIBRARY.stpn_step(self._handle, inputs.ctypes.data_as(POINTER(c_float)))
        return self.h.copy()

    def output(self, head: str) -> Floats:
        """What a head, one of `network.heads`, makes of the activity of the last step. Raises KeyError."""
        if head not in self.network.heads:
            raise KeyError(f"there is no output {head!r}: the network has {', '.join(self.network.heads)}")
        out = numpy.empty(self.network.heads[head], numpy.float32)
        _LIBRARY.stpn_output(self._handle, list(self.network.heads).index(head),
                             out.ctypes.data_as(POINTER(c_float)))
        return out
