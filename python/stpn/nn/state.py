"""The state of each unit: what one call returns and the next one takes.

L layers, B samples, H neurons, N presynaptic inputs of a neuron. As in torch.nn.LSTM, what has one
value for each neuron is stacked over the layers, (L, B, H); without a batch (L, H). Fast weights,
whose size differs from layer to layer, are a tuple with one tensor for each layer, (B, H, N). So
`state.h[-1]` and `state.F[-1]` are those of the last layer. In memory a state is mostly fast
weights: B * H * (I + H) * 4 bytes for a recurrent STPN in float32.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

Fast = tuple[Tensor, ...]


def _mapped(function, value):
    """A field of a state with every tensor of it replaced by function(tensor)."""
    if value is None:
        return None
    return tuple(map(function, value)) if isinstance(value, tuple) else function(value)


def _detached(value):
    return _mapped(Tensor.detach, value)


class _BoundGradient(torch.autograd.Function):
    """The same values; backward, a gradient whose norm over `dims` is at most `most`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, most: float, dims: tuple[int, ...]) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.most, ctx.dims = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        norm = torch.linalg.vector_norm(gradients[0], dim=ctx.dims, keepdim=True).clamp(min=1e-30)
        return gradients[0] * (ctx.most / norm).clamp(max=1), None, None


def _with_bounded_gradients(state, most):
    """Of all fields; h and beta have one value for each neuron of a sample, the others a matrix."""
    if not most >= 0:
        raise ValueError(f"bound_gradient: most is {most}, wants a number of at least 0")

    def bounded(name, value):
        dims = (-1,) if name in ("h", "beta") else (-2, -1)
        return _mapped(lambda tensor: _BoundGradient.apply(tensor, most, dims), value)

    return type(state)(*(bounded(name, value) for name, value in state._asdict().items()))


class STPNState(NamedTuple):
    """State of `STPN`: activity h (L, B, H), fast weights F, each (B, H, I+H), and, with a plastic
    bias, its fast part beta (L, B, H)."""

    h: Tensor
    F: Fast
    beta: Tensor | None = None

    def detach(self) -> "STPNState":
        """The same values without their history, for truncated backpropagation."""
        return STPNState(*map(_detached, self))

    def to(self, *to: Any, **options: Any) -> "STPNState":
        """The same values on a device or of a dtype: takes what `torch.Tensor.to` takes."""
        return STPNState(*(_mapped(lambda tensor: tensor.to(*to, **options), field) for field in self))

    def bound_gradient(self, most: float) -> "STPNState":
        """The same values; backward, the gradient of each sample with respect to each tensor is scaled
        down to a norm of `most`, so that those of long sequences stay finite."""
        return _with_bounded_gradients(self, most)


class STPNFeedforwardState(NamedTuple):
    """State of `STPNFeedforward` and `HebbFF`: fast weights F, each (B, H, I), and, with a plastic
    bias, its fast part beta (L, B, H)."""

    F: Fast
    beta: Tensor | None = None

    def detach(self) -> "STPNFeedforwardState":
        """The same values without their history, for truncated backpropagation."""
        return STPNFeedforwardState(*map(_detached, self))

    def to(self, *to: Any, **options: Any) -> "STPNFeedforwardState":
        """The same values on a device or of a dtype: takes what `torch.Tensor.to` takes."""
        return STPNFeedforwardState(*(_mapped(lambda tensor: tensor.to(*to, **options), field) for field in self))

    def bound_gradient(self, most: float) -> "STPNFeedforwardState":
        """The same values; backward, the gradient of each sample with respect to each tensor is scaled
        down to a norm of `most`, so that those of long sequences stay finite."""
        return _with_bounded_gradients(self, most)


class FastWeightsState(NamedTuple):
    """State of `FastWeights`: activity h (L, B, H) and fast weights A, each (B, H, H)."""

    h: Tensor
    A: Fast

    def detach(self) -> "FastWeightsState":
        """The same values without their history, for truncated backpropagation."""
        return FastWeightsState(*map(_detached, self))

    def to(self, *to: Any, **options: Any) -> "FastWeightsState":
        """The same values on a device or of a dtype: takes what `torch.Tensor.to` takes."""
        return FastWeightsState(*(_mapped(lambda tensor: tensor.to(*to, **options), field) for field in self))

    def bound_gradient(self, most: float) -> "FastWeightsState":
        """The same values; backward, the gradient of each sample with respect to each tensor is scaled
        down to a norm of `most`, so that those of long sequences stay finite."""
        return _with_bounded_gradients(self, most)


class BackpropamineState(NamedTuple):
    """State of `Backpropamine`: activity h (L, B, H), plastic part P, each (B, H, H), and, with
    neuromodulation "modul", eligibility traces E, each (B, H, H)."""

    h: Tensor
    P: Fast
    E: Fast | None = None

    def detach(self) -> "BackpropamineState":
        """The same values without their history, for truncated backpropagation."""
        return BackpropamineState(*map(_detached, self))

    def to(self, *to: Any, **options: Any) -> "BackpropamineState":
        """The same values on a device or of a dtype: takes what `torch.Tensor.to` takes."""
        return BackpropamineState(*(_mapped(lambda tensor: tensor.to(*to, **options), field) for field in self))

    def bound_gradient(self, most: float) -> "BackpropamineState":
        """The same values; backward, the gradient of each sample with respect to each tensor is scaled
        down to a norm of `most`, so that those of long sequences stay finite."""
        return _with_bounded_gradients(self, most)


# So that torch.load, which otherwise takes only what it knows, reads a state that torch.save wrote.
torch.serialization.add_safe_globals([STPNState, STPNFeedforwardState, FastWeightsState,
                                      BackpropamineState])
