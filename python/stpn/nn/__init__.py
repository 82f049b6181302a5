"""The units as torch modules, in the place of torch.nn.LSTM."""

from stpn.nn.backpropamine import Backpropamine
from stpn.nn.fast_weights import FastWeights
from stpn.nn.state import (
    BackpropamineState,
    FastWeightsState,
    STPNFeedforwardState,
    STPNState,
)
from stpn.nn.stpn import STPN, HebbFF, STPNFeedforward
from stpn.nn.unit import Unit

__all__ = [
    "Backpropamine", "BackpropamineState", "FastWeights", "FastWeightsState", "HebbFF", "STPN",
    "STPNFeedforward", "STPNFeedforwardState", "STPNState", "Unit",
]
