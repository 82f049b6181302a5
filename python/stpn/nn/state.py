"""The state of each unit: what one call returns and the next one takes.

L layers, B samples, H neurons, N presynaptic inputs of a neuron. As in torch.nn.LSTM, what has one
value for each neuron is stacked over the layers, (L, B, H); without a batch (L, H). Fast weights,
whose size differs from layer to layer, are a tuple with one tensor for each layer, (B, H, N). So
`state.h[-1]` and `state.F[-1]` are those of the last layer. In memory a state is mostly fast
weights: B * H * (I + H) * 4 bytes for a recurrent STPN in float32.
"""

from typing import NamedTuple

from torch import Tensor

Fast = tuple[Tensor, ...]


def _detached(value):
    if value is None:
        return None
    return tuple(map(Tensor.detach, value)) if isinstance(value, tuple) else value.detach()


class STPNState(NamedTuple):
    """State of `STPN`: activity h (L, B, H), fast weights F, each (B, H, I+H), and, with a plastic
    bias, its fast part beta (L, B, H)."""

    h: Tensor
    F: Fast
    beta: Tensor | None = None

    def detach(self) -> "STPNState":
        """The same values without their history, for truncated backpropagation."""
        return STPNState(*map(_detached, self))


class STPNFeedforwardState(NamedTuple):
    """State of `STPNFeedforward` and `HebbFF`: fast weights F, each (B, H, I), and, with a plastic
    bias, its fast part beta (L, B, H)."""

    F: Fast
    beta: Tensor | None = None

    def detach(self) -> "STPNFeedforwardState":
        """The same values without their history, for truncated backpropagation."""
        return STPNFeedforwardState(*map(_detached, self))


class FastWeightsState(NamedTuple):
    """State of `FastWeights`: activity h (L, B, H) and fast weights A, each (B, H, H)."""

    h: Tensor
    A: Fast

    def detach(self) -> "FastWeightsState":
        """The same values without their history, for truncated backpropagation."""
        return FastWeightsState(*map(_detached, self))


class BackpropamineState(NamedTuple):
    """State of `Backpropamine`: activity h (L, B, H), plastic part P, each (B, H, H), and, with
    neuromodulation "modul", eligibility traces E, each (B, H, H)."""

    h: Tensor
    P: Fast
    E: Fast | None = None

    def detach(self) -> "BackpropamineState":
        """The same values without their history, for truncated backpropagation."""
        return BackpropamineState(*map(_detached, self))
