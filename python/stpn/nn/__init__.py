"""The units as torch modules, in the place of torch.nn.LSTM and torch.nn.LSTMCell."""

from stpn.nn.backpropamine import Backpropamine
from stpn.nn.cells import (
    BackpropamineCell,
    FastWeightsCell,
    HebbFFCell,
    STPNCell,
    STPNFeedforwardCell,
)
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
    "Backpropamine", "BackpropamineCell", "BackpropamineState", "FastWeights", "FastWeightsCell",
    "FastWeightsState", "HebbFF", "HebbFFCell", "STPN", "STPNCell", "STPNFeedforward",
    "STPNFeedforwardCell", "STPNFeedforwardState", "STPNState", "Unit",
]
