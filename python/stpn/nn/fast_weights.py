"""Fast weights that attend to the recent past, as a module."""

from typing import Unpack

import torch
from torch import Tensor

from stpn.nn.options import FastWeightsOptions
from stpn.signature import signature_of
from stpn.nn.state import FastWeightsState
from stpn.nn.unit import Start, Unit, fan_in_bound


class FastWeights(Unit[FastWeightsState]):
    """Recurrent neurons with a matrix A of fast weights for each sample.

    A decays, learns each activity, and within a time step pulls the activity towards those that it
    has learnt lately:

        A[t] = decay A[t-1] + rate h[t-1] h[t-1]^T
        p    = W z[t] + b;   s_0 = tanh(LN(p)),      z[t] = [x[t]; h[t-1]]
        s_k  = tanh(LN(p + A[t] s_(k-1))),   k = 1 .. inner_steps;   h[t] = the last s

    Ba, Hinton, Mnih, Leibo, Ionescu: Using Fast Weights to Attend to the Recent Past, NIPS 2016.

    Arguments are those of `torch.nn.LSTM`, and by name layer_norm = True: whether there is an LN.
    Parameters of layer k: weight_lk (H, I+H), bias_lk (H), layer_norm_weight_lk and
    layer_norm_bias_lk (H).
    """

    signature = signature_of("fast_weights")
    state_type = FastWeightsState

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0,
                 device: torch.device | str | int | None = None, dtype: torch.dtype | None = None,
                 *, layer_norm: bool = True, **options: Unpack[FastWeightsOptions]) -> None:
        self.layer_norm = layer_norm
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                         dtype, **options)

    def _size(self, letter: str, inputs: int) -> int:
        return self.hidden_size

    def _starts(self, inputs: int) -> dict[str, Start]:
        H = self.hidden_size
        k = fan_in_bound(H)
        starts: dict[str, Start] = {"weight": ((H, inputs + H), (-k, k))}
        if self.bias:
            starts["bias"] = (H,), (-k, k)
        if self.layer_norm:
            starts["layer_norm_weight"] = (H,), (1, 1)
            starts["layer_norm_bias"] = (H,), (0, 0)
        return starts

    def _given(self, parameters: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        weight = parameters["weight"]
        assert weight is not None
        return {"bias": weight.new_zeros(self.hidden_size)} | parameters

    def _extra_words(self) -> list[str]:
        return [] if self.layer_norm else ["layer_norm=False"]
