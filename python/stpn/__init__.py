"""Short-term plasticity neurons: recurrent units whose synapses remember.

    import stpn
    unit = stpn.STPN(input_size=16, hidden_size=20)   # where torch.nn.LSTM(16, 20) stood
    output, state = unit(x)

STPN, STPNFeedforward, HebbFF, FastWeights, Backpropamine   units as torch modules
STPNCell and so on                                          the same, one time step at a call
stpn.functional      the same, with tensors for parameters
stpn.ops             the torch ops behind them
stpn.checkpoints     weights from the program and back
stpn.onnx_export     STPNs as ONNX models
stpn.plots           three pictures of a unit at work

Tables, figures and films of the program's runs, each also a command (python -m stpn.NAME):

learning_curves  a table and a picture of runs        reproduction   table and figures of many runs
maze_picture     a picture of an episode              pendulum_film, pong_film   films of an episode

figures, films, runs and safetensors are what these share.

Nothing is imported before it is used: `import stpn` alone needs neither torch nor the library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn import checkpoints, functional, nn, onnx_export, ops, plots
    from stpn.nn import (
        STPN,
        Backpropamine,
        BackpropamineCell,
        BackpropamineState,
        FastWeights,
        FastWeightsCell,
        FastWeightsState,
        HebbFF,
        HebbFFCell,
        STPNCell,
        STPNFeedforward,
        STPNFeedforwardCell,
        STPNFeedforwardState,
        STPNState,
    )

__all__ = [
    "STPN", "Backpropamine", "BackpropamineCell", "BackpropamineState", "FastWeights",
    "FastWeightsCell", "FastWeightsState", "HebbFF", "HebbFFCell", "STPNCell", "STPNFeedforward",
    "STPNFeedforwardCell", "STPNFeedforwardState", "STPNState", "checkpoints", "functional", "nn",
    "onnx_export", "ops", "plots",
]
_MODULES = ("checkpoints", "functional", "nn", "onnx_export", "ops", "plots")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"stpn.{name}")
    if name in __all__:
        return getattr(import_module("stpn.nn"), name)
    raise AttributeError(f"module 'stpn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
