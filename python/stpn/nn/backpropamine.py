"""Neuromodulated plasticity, as a module."""

from typing import Unpack

import torch
from torch import Tensor

from stpn.nn.options import BackpropamineOptions
from stpn.signature import signature_of
from stpn.nn.state import BackpropamineState
from stpn.nn.unit import Start, Unit, fan_in_bound


class Backpropamine(Unit[BackpropamineState]):
    """Recurrent neurons whose synapses have a plastic part P; a modulator m controls the writing.

        h[t] = tanh(W_i x[t] + b_i + (w + alpha P[t-1]) h[t-1])
        D    = h[t] h[t-1]^T;   m = act(w_m h[t] + b_m)
        P[t] = clamp(P[t-1] + m D, +-1)

    Miconi, Rawal, Clune, Stanley: Backpropamine: training self-modifying neural networks with
    differentiable neuromodulated plasticity, ICLR 2019.

    Arguments are those of `torch.nn.LSTM`. Parameters of layer k: weight_ih_lk (H, I), bias_lk (H),
    weight_hh_lk and alpha_lk (H, H), modulator_weight_lk (H), modulator_bias_lk (1), rate_lk (1).
    """

    signature = signature_of("backpropamine")
    state_type = BackpropamineState

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0,
                 device: torch.device | str | int | None = None, dtype: torch.dtype | None = None,
                 **options: Unpack[BackpropamineOptions]) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                         dtype, **options)

    def _size(self, letter: str, inputs: int) -> int:
        return self.hidden_size

    def _has_state(self, name: str) -> bool:
        return name != "E" or self.options["neuromodulation"] == "modul"

    def _starts(self, inputs: int) -> dict[str, Start]:
        H = self.hidden_size
        k, k_head = fan_in_bound(inputs), fan_in_bound(H)
        starts: dict[str, Start] = {"weight_ih": ((H, inputs), (-k, k))}
        if self.bias:
            starts["bias"] = (H,), (-k, k)
        starts |= {"weight_hh": ((H, H), (0, 0.01)), "alpha": ((H, H), (0, 0.01))}
        if self.options["neuromodulation"] != "plastic":
            starts |= {"modulator_weight": ((H,), (-k_head, k_head)),
                       "modulator_bias": ((1,), (-k_head, k_head))}
        if self.options["neuromodulation"] != "modplast":
            starts["rate"] = (1,), (0.01, 0.01)
        return starts

    def _given(self, parameters: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        weight = parameters["weight_ih"]
        assert weight is not None
        return {"bias": weight.new_zeros(self.hidden_size)} | parameters

    def _measured(self, given: dict[str, Tensor | None]) -> Tensor:
        assert self.measured is not None and given["weight_ih"] is not None
        return self.measured.to(given["weight_ih"].dtype)
