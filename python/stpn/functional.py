"""The units as functions: parameters and states are tensors that the caller holds.

x is (T, B, I), time first. A state that is not given starts from zero. Each returns the activity of
every step (T, B, H), the final states by name, without the empty ones, and, if asked for, the energy
(T, B, H). docs/ops.md has the shapes of all tensors, and every option.
"""

from typing import NamedTuple, Unpack

from torch import Tensor

from stpn import ops
from stpn.nn.options import (
    BackpropamineOptions,
    FastWeightsOptions,
    STPNFeedforwardOptions,
    STPNOptions,
)


class Result(NamedTuple):
    """What a unit returns: output (T, B, H), final states by name, energy (T, B, H) or None."""

    output: Tensor
    state: dict[str, Tensor]
    energy: Tensor | None


def _result(output: Tensor, energy: Tensor, asked: bool, finals: dict[str, Tensor | None],
            recurrent: bool = True) -> Result:
    # The last output is a view, which would keep all outputs in memory.
    state = {"h": output[-1].clone()} if recurrent else {}
    state |= {name: final for name, final in finals.items() if final is not None}
    return Result(output, state, energy if asked else None)


def _zeros(given: Tensor | None, weight: Tensor, *shape: int) -> Tensor:
    return weight.new_zeros(shape) if given is None else given


def stpn_recurrent(x: Tensor, weight: Tensor, bias: Tensor | None, weight_lambda: Tensor,
                   weight_gamma: Tensor, *, h: Tensor | None = None, F: Tensor | None = None,
                   beta: Tensor | None = None, bias_lambda: Tensor | None = None,
                   bias_gamma: Tensor | None = None, layer_norm_weight: Tensor | None = None,
                   layer_norm_bias: Tensor | None = None, update_weight: Tensor | None = None,
                   update_bias: Tensor | None = None, write_weight: Tensor | None = None,
                   decay_weight: Tensor | None = None, measured: Tensor | None = None,
                   reset: Tensor | None = None, energy: bool = False,
                   **options: Unpack[STPNOptions]) -> Result:
    """`stpn.STPN` of one layer. States: h, F and, where bias_lambda is given, beta. A gate is there if
    its weight is."""
    if bias_lambda is not None:
        beta = _zeros(beta, weight, x.size(1), weight.size(0))
    output, after, fast_bias, spent = ops.stpn_recurrent(
        x, h, F, weight, bias, weight_lambda, weight_gamma, beta=beta, bias_lambda=bias_lambda,
        bias_gamma=bias_gamma, layer_norm_weight=layer_norm_weight,
        layer_norm_bias=layer_norm_bias, update_weight=update_weight, update_bias=update_bias,
        write_weight=write_weight, decay_weight=decay_weight, measured=measured, reset=reset,
        energy=energy, **options)
    return _result(output, spent, energy,
                   {"F": after, "beta": None if beta is None else fast_bias})


def stpn_feedforward(x: Tensor, weight: Tensor, bias: Tensor | None, weight_lambda: Tensor,
                     weight_gamma: Tensor, *, F: Tensor | None = None, beta: Tensor | None = None,
                     bias_lambda: Tensor | None = None, bias_gamma: Tensor | None = None,
                     layer_norm_weight: Tensor | None = None,
                     layer_norm_bias: Tensor | None = None, measured: Tensor | None = None,
                     reset: Tensor | None = None, energy: bool = False,
                     **options: Unpack[STPNFeedforwardOptions]) -> Result:
    """`stpn.STPNFeedforward` of one layer. States: F and, where bias_lambda is given, beta."""
    if bias_lambda is not None:
        beta = _zeros(beta, weight, x.size(1), weight.size(0))
    output, after, fast_bias, spent = ops.stpn_feedforward(
        x, F, weight, bias, weight_lambda, weight_gamma, beta=beta, bias_lambda=bias_lambda,
        bias_gamma=bias_gamma, layer_norm_weight=layer_norm_weight,
        layer_norm_bias=layer_norm_bias, measured=measured, reset=reset, energy=energy, **options)
    return _result(output, spent, energy,
                   {"F": after, "beta": None if beta is None else fast_bias}, recurrent=False)


def fast_weights(x: Tensor, weight: Tensor, bias: Tensor, *, h: Tensor | None = None,
                 A: Tensor | None = None, layer_norm_weight: Tensor | None = None,
                 layer_norm_bias: Tensor | None = None, measured: Tensor | None = None,
                 reset: Tensor | None = None, energy: bool = False,
                 **options: Unpack[FastWeightsOptions]) -> Result:
    """`stpn.FastWeights` of one layer. States: h, A."""
    output, after, spent = ops.fast_weights(
        x, h, A, weight, bias, layer_norm_weight=layer_norm_weight,
        layer_norm_bias=layer_norm_bias, measured=measured, reset=reset, energy=energy, **options)
    return _result(output, spent, energy, {"A": after})


def backpropamine(x: Tensor, weight_ih: Tensor, bias: Tensor, weight_hh: Tensor, alpha: Tensor, *,
                  h: Tensor | None = None, P: Tensor | None = None, E: Tensor | None = None,
                  modulator_weight: Tensor | None = None, modulator_bias: Tensor | None = None,
                  rate: Tensor | None = None, measured: Tensor | None = None,
                  reset: Tensor | None = None, energy: bool = False,
                  **options: Unpack[BackpropamineOptions]) -> Result:
    """`stpn.Backpropamine` of one layer. States: h, P and, with neuromodulation "modul", E."""
    if options.get("neuromodulation") == "modul":
        H = weight_ih.size(0)
        E = _zeros(E, weight_ih, x.size(1), H, H)
    output, after, trace, spent = ops.backpropamine(
        x, h, P, weight_ih, bias, weight_hh, alpha, E=E, modulator_weight=modulator_weight,
        modulator_bias=modulator_bias, rate=rate, measured=measured, reset=reset, energy=energy,
        **options)
    return _result(output, spent, energy, {"P": after, "E": None if E is None else trace})
