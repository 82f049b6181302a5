"""Short-term plasticity neurons: recurrent units whose synapses remember.

    import stpn
    unit = stpn.STPN(input_size=16, hidden_size=20)   # where torch.nn.LSTM(16, 20) stood
    output, state = unit(x)

STPN, STPNFeedforward, HebbFF, FastWeights, Backpropamine   units as torch modules
STPNCell and so on                                          the same, one time step at a call
stpn.functional                                             the same, with tensors for parameters
stpn.ops                                                    the torch ops behind them

Nothing is imported before it is used: `import stpn` alone needs neither torch nor the library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn import checkpoints, functional, nn, ops
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
    "ops",
]
_MODULES = ("checkpoints", "functional", "nn", "ops")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"stpn.{name}")
    if name in __all__:
        return getattr(import_module("stpn.nn"), name)
    raise AttributeError(f"module 'stpn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
