"""One time step at a call, in the place of torch.nn.LSTMCell."""

from typing import TYPE_CHECKING, Any, ClassVar, Generic

import torch
from torch import Tensor, nn

from stpn.nn.backpropamine import Backpropamine
from stpn.nn.fast_weights import FastWeights
from stpn.nn.state import (
    BackpropamineState,
    FastWeightsState,
    STPNFeedforwardState,
    STPNState,
)
from stpn.nn.stpn import STPN, HebbFF, STPNFeedforward
from stpn.nn.unit import StateT, Unit


class Cell(nn.Module, Generic[StateT]):
    """A unit that runs one time step at a call: `output, state = cell(x, state)`.

    x and output are (B, I) and (B, H), or (I) and (H). The state and the parameters are those of
    the unit with one layer, `cell.unit`, which takes over where a sequence is at hand. Arguments
    and options are those of the unit, without num_layers, batch_first and dropout.
    """

    unit_type: ClassVar[type[Unit]]

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 device: torch.device | str | int | None = None, dtype: torch.dtype | None = None,
                 **options: Any) -> None:
        super().__init__()
        # The unit would take these, but a cell has one layer and no sequence.
        for name in ("num_layers", "batch_first", "dropout"):
            if name in options:
                raise TypeError(f"{type(self).__name__} got an unexpected keyword argument {name!r}: "
                                f"a cell is one layer that takes one step; {self.unit_type.__name__} has it")
        self.unit = self.unit_type(input_size, hidden_size, bias=bias, device=device, dtype=dtype,
                                   **options)

    def initial_state(self, batch_size: int | None = None) -> StateT:
        """Zeros for so many samples, or, without a number, for an input without a batch."""
        return self.unit.initial_state(batch_size)  # type: ignore[return-value]

    def forward(self, x: Tensor, state: StateT | None = None, reset: Tensor | None = None,
                ) -> tuple[Tensor, StateT]:
        """Runs a time step; returns (output, state).

        x: (B, I), or (I) without a batch.
        state: what an earlier call returned; None: zeros.
        reset: bool, (B), or () without a batch; where true, the sample's state is zeroed before the
            step.
        """
        self.unit._check_kind(x)
        if x.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: x has {x.dim()} dimensions, wants 1 or 2: "
                             "(B, I) or (I)")
        output, after = self.unit(x.unsqueeze(0), state,
                                  reset=None if reset is None else reset.unsqueeze(0))
        return output.squeeze(0), after

    if TYPE_CHECKING:
        __call__ = forward  # nn.Module's returns Any


class STPNCell(Cell[STPNState]):
    """`STPN`, one time step at a call."""

    unit_type = STPN


class STPNFeedforwardCell(Cell[STPNFeedforwardState]):
    """`STPNFeedforward`, one time step at a call."""

    unit_type = STPNFeedforward


class HebbFFCell(Cell[STPNFeedforwardState]):
    """`HebbFF`, one time step at a call."""

    unit_type = HebbFF


class FastWeightsCell(Cell[FastWeightsState]):
    """`FastWeights`, one time step at a call."""

    unit_type = FastWeights


class BackpropamineCell(Cell[BackpropamineState]):
    """`Backpropamine`, one time step at a call."""

    unit_type = Backpropamine
