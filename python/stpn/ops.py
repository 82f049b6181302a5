"""The units as PyTorch ops. Importing this module loads libstpn_ops.so.

stpn_recurrent(x, h, F, weight, bias, weight_lambda, weight_gamma, *, norm="pre", ...)
    -> (output, F, beta, energy)

    x (T, B, I); state h (B, H), F (B, H, P); weight (H, I+H); bias (H) or None; weight_lambda and
    weight_gamma (H, P), (P) or (1). P, the sources with fast weights: I+H, or I or H with
    connections "input" or "recurrent". Returns the activity of every step (T, B, H), whose last is
    the new h, and the new F; beta and energy are empty unless asked for. Float or double, on the
    CPU; differentiable in every floating-point input, once.

    norm, clamp, connections, rule, decay, presynaptic, activation: as in docs/units.md, which has
    the equations; clamp None is no bound. And, where wanted:
    beta (B, H), bias_lambda, bias_gamma (H) or (1)   plastic bias: its state, decay and rate
    layer_norm_weight, layer_norm_bias (H)            layer norm
    reset (T, B) bool                                 True zeroes that sample's state before the step
    energy=True, measured (I+H) of 0 or 1             energy (T, B, H), of the sources marked 1

stpn_feedforward(x, F, weight, bias, weight_lambda, weight_gamma, *, norm="pre", ...)
    -> (output, F, beta, energy)

    The same without recurrent synapses: no h, connections and presynaptic; I in place of I+H.

fast_weights(x, h, A, weight, bias, *, layer_norm_weight=None, layer_norm_bias=None, ...)
    -> (output, A, energy)

    x (T, B, I); state h (B, H), A (B, H, H); weight (H, I+H); bias (H); layer_norm_weight and
    layer_norm_bias (H), or no layer norm. inner_steps=1, decay=0.9, rate=0.5: as in docs/units.md.
    Results, gradients, reset, energy and measured: as above.

backpropamine(x, h, P, weight_ih, bias, weight_hh, alpha, *, neuromodulation="modplast", ...)
    -> (output, P, E, energy)

    x (T, B, I); state h (B, H), P (B, H, H); weight_ih (H, I); bias (H); weight_hh and alpha (H, H).
    neuromodulation, addition, modulator: as in docs/units.md; neuromodulation says which of these
    have to be there: modulator_weight (H) and modulator_bias (1) ("modplast", "modul"), rate (1)
    ("plastic", "modul"), and the state E (B, H, H) ("modul"; else the E returned is empty).
    Results, gradients, reset and energy: as above; measured (I): which inputs count.
"""

import os
from pathlib import Path

import torch


def _library():
    """Where the library is: STPN_OPS, else the build of this checkout, else the installed one."""
    if named := os.environ.get("STPN_OPS"):
        candidates = [Path(named)]
        advice = "STPN_OPS names it"
    else:
        package = Path(__file__).resolve().parent
        candidates = [package.parents[1] / "build/lib/libstpn_ops.so",
                      package.parents[2] / "libstpn_ops.so"]
        advice = "run `make build`, or set STPN_OPS to its path"
    for path in candidates:
        if path.is_file():
            return path
    raise ImportError(f"no op library at {' or '.join(map(str, candidates))}: {advice}")


try:
    torch.ops.load_library(_library())
except OSError as error:
    raise ImportError(f"the op library does not load into torch {torch.__version__}; build it "
                      f"against this torch: {error}") from error

stpn_recurrent = torch.ops.stpn.stpn_recurrent
stpn_feedforward = torch.ops.stpn.stpn_feedforward
fast_weights = torch.ops.stpn.fast_weights
backpropamine = torch.ops.stpn.backpropamine
