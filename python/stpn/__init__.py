"""Short-term plasticity neurons: recurrent units whose synapses remember.

    import stpn
    unit = stpn.STPN(input_size=16, hidden_size=20)   # where torch.nn.LSTM(16, 20) stood
    output, state = unit(x)

STPN, STPNFeedforward, HebbFF, FastWeights, Backpropamine   units as torch modules
STPNCell and so on                                          the same, one time step at a call
stpn.functional      the same, with tensors for parameters
stpn.ops             the torch ops behind them
stpn.checkpoints     weights from the program and back
stpn.runtime         a trained network step by step, with NumPy and without torch
stpn.onnx_export     STPNs as ONNX models
stpn.plots           three pictures of a unit at work

Tables, figures and films of the program's runs, each also a command (python -m stpn.NAME):

learning_curves  a table and a picture of runs        reproduction   table and figures of many runs
maze_picture     a picture of an episode              pendulum_film, pong_film   films of an episode

figures, films, runs and safetensors are what these share.

Nothing is imported before it is used: `import stpn` alone needs neither torch nor the library.
"""

import re
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn import checkpoints, functional, nn, onnx_export, ops, plots, runtime
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
    "onnx_export", "ops", "plots", "runtime",
]
_MODULES = ("checkpoints", "functional", "nn", "onnx_export", "ops", "plots", "runtime")


def _version() -> str:
    """That of the checkout which the package is in, else that of the wheel."""
    checkout = Path(__file__).resolve().parents[2] / "CMakeLists.txt"
    if checkout.is_file() and (found := re.search(r"project\(stpn VERSION ([0-9.]+)", checkout.read_text())):
        return found[1]
    return metadata.version("stpn")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _MODULES:
        return import_module(f"stpn.{name}")
    if name in __all__:
        return getattr(import_module("stpn.nn"), name)
    raise AttributeError(f"module 'stpn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
