"""The short-term plasticity neuron as modules: recurrent, feed-forward, and HebbFF."""

import math
from typing import Literal, Unpack

import torch
from torch import Tensor

from stpn.nn.options import STPNFeedforwardOptions, STPNOptions
from stpn.signature import check_choice, signature_of
from stpn.nn.state import STPNFeedforwardState, STPNState
from stpn.nn.unit import Start, StateT, Unit, fan_in_bound

Device = torch.device | str | int | None
Rates = Literal["synapse", "presynaptic", "scalar"]
BiasRates = Literal["neuron", "scalar"]

UPDATE_BIAS_START = -2.0  # an update gate starts near 0.1: docs/capability.md says why


class _PlasticNeurons(Unit[StateT]):
    """What the recurrent and the feed-forward one share."""

    _recurrent: bool

    def __init__(self, input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                 dtype, *, rates, layer_norm, plastic_bias, bias_rates, update_gate=False,
                 write_gate=False, decay_gate=False, **options) -> None:
        self.rates = check_choice("", "rates", rates, ("synapse", "presynaptic", "scalar"))
        self.layer_norm = layer_norm
        self.plastic_bias = plastic_bias
        self.bias_rates = check_choice("", "bias_rates", bias_rates, ("neuron", "scalar"))
        self.update_gate = update_gate
        self.write_gate = write_gate
        self.decay_gate = decay_gate
        if (write_gate or decay_gate) and options.get("rule") == "oja":
            raise ValueError("write_gate and decay_gate do not go with rule 'oja'")
        if decay_gate and options.get("norm", "pre") != "pre":
            raise ValueError("decay_gate wants norm 'pre'")
        wanted = {"norm": "pre", "decay": "before_update", "presynaptic": "previous",
                  "connections": "all"}
        if options.get("rule") == "delta" and any(options.get(name, value) != value
                                                  for name, value in wanted.items()):
            raise ValueError("rule 'delta' wants norm 'pre', decay 'before_update', presynaptic "
                             "'previous' and connections 'all'")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                         dtype, **options)

    def _size(self, letter: str, inputs: int) -> int:
        if letter == "H":
            return self.hidden_size
        connections = self.options.get("connections", "input")
        return ((inputs if connections != "recurrent" else 0)
                + (self.hidden_size if connections != "input" else 0))

    def _has_state(self, name: str) -> bool:
        return name != "beta" or self.plastic_bias

    def _starts(self, inputs: int) -> dict[str, Start]:
        H, P = self.hidden_size, self._size("P", inputs)
        N = inputs + (H if self._recurrent else 0)
        k = fan_in_bound(H if self._recurrent else inputs)
        rates = {"synapse": (H, P), "presynaptic": (P,), "scalar": (1,)}[self.rates]
        starts: dict[str, Start] = {"weight": ((H, N), (-k, k))}
        if self.bias:
            starts["bias"] = (H,), (-k, k)
        starts |= self._rate_starts(rates, k)
        if self.layer_norm:
            starts["layer_norm_weight"] = (H,), (1, 1)
            starts["layer_norm_bias"] = (H,), (0, 0)
        if self.plastic_bias:
            rates = (H,) if self.bias_rates == "neuron" else (1,)
            starts["bias_lambda"] = rates, (0, 1)
            starts["bias_gamma"] = rates, (-0.001 * k, 0.001 * k)
        if self.update_gate:
            starts["update_weight"] = (H, N), (-k, k)
            starts["update_bias"] = (H,), (UPDATE_BIAS_START - k, UPDATE_BIAS_START + k)
        if self.write_gate:
            starts["write_weight"] = (H, inputs), (-k, k)
        if self.decay_gate:
            starts["decay_weight"] = (H, inputs), (-k, k)
        return starts

    def _rate_starts(self, shape: tuple[int, ...], k: float) -> dict[str, Start]:
        return {"weight_lambda": (shape, (0, 1)), "weight_gamma": (shape, (-0.001 * k, 0.001 * k))}

    def _given(self, parameters: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        return parameters if self.bias else parameters | {"bias": None}

    def _extra_words(self) -> list[str]:
        defaults = {"rates": "synapse", "layer_norm": False, "plastic_bias": False,
                    "bias_rates": "neuron", "update_gate": False, "write_gate": False,
                    "decay_gate": False}
        return [f"{name}={getattr(self, name)!r}" for name, default in defaults.items()
                if getattr(self, name) != default]


class STPN(_PlasticNeurons[STPNState]):
    """A layer, or several, of recurrent short-term plasticity neurons.

    Every synapse has a trained weight W and a fast weight F, which is part of the state:

        G    = W + F[t-1];  n = |G| + 1e-16          efficacies, and the 2-norm of each neuron's
        h[t] = act(G z[t] / n + b),                  z[t] = [x[t]; h[t-1]]
        F[t] = clamp(Lambda F[t-1] / n + Gamma h[t] z[t]^T, +-clamp)

    Garcia Rodriguez, Guo, Moraitis: Short-Term Plasticity Neurons Learning to Learn and Forget, ICML
    2022. A call is that of `torch.nn.LSTM`: `output, state = unit(x, state)`.

    Arguments are those of `torch.nn.LSTM`, and by name:

    - rates = 'synapse': one Lambda and one Gamma for each synapse, for each presynaptic input
      ('presynaptic'), or one in all ('scalar')
    - layer_norm = False: layer norm before the activation
    - plastic_bias = False: whether the bias has a fast part too
    - bias_rates = 'neuron': with plastic_bias, a decay and a rate for each neuron, or one in all
      ('scalar')
    - update_gate = False: whether each neuron keeps a part k of its activity,
      h[t] = k h[t-1] + (1 - k) act(...), with k = sigmoid(U z[t] + d)
    - write_gate = False: whether Gamma is multiplied by 2 sigmoid(B x[t]), for each neuron; not with
      rule 'oja'
    - decay_gate = False: whether F[t-1] / n in its update is multiplied by sigmoid(A x[t] + 4), for
      each neuron; not with rule 'oja'; norm 'pre'

    Parameters, of layer k with I inputs and N presynaptic inputs of a neuron, P of them with fast
    weights: weight_lk (H, N), bias_lk (H), weight_lambda_lk and weight_gamma_lk (H, P), (P) or (1);
    those of layer norm and plastic bias; those of the gates: update_weight_lk (H, N), update_bias_lk
    (H), write_weight_lk and decay_weight_lk (H, I).
    """

    signature = signature_of("stpn_recurrent")
    state_type = STPNState
    _recurrent = True

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, device: Device = None,
                 dtype: torch.dtype | None = None, *, rates: Rates = "synapse",
                 layer_norm: bool = False, plastic_bias: bool = False,
                 bias_rates: BiasRates = "neuron", update_gate: bool = False,
                 write_gate: bool = False, decay_gate: bool = False,
                 **options: Unpack[STPNOptions]) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                         dtype, rates=rates, layer_norm=layer_norm, plastic_bias=plastic_bias,
                         bias_rates=bias_rates, update_gate=update_gate, write_gate=write_gate,
                         decay_gate=decay_gate, **options)


class STPNFeedforward(_PlasticNeurons[STPNFeedforwardState]):
    """A layer, or several, of short-term plasticity neurons without recurrent synapses.

    As `STPN` with z[t] = x[t]: the fast weights are the only memory, and the state has no h. Its
    arguments and parameters are those of `STPN`.
    """

    signature = signature_of("stpn_feedforward")
    state_type = STPNFeedforwardState
    _recurrent = False

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, device: Device = None,
                 dtype: torch.dtype | None = None, *, rates: Rates = "synapse",
                 layer_norm: bool = False, plastic_bias: bool = False,
                 bias_rates: BiasRates = "neuron",
                 **options: Unpack[STPNFeedforwardOptions]) -> None:
        self._check_names(options)  # the class that it shares with `STPN` would take gates
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                         dtype, rates=rates, layer_norm=layer_norm, plastic_bias=plastic_bias,
                         bias_rates=bias_rates, **options)


class HebbFF(STPNFeedforward):
    """HebbFF, which distinguishes familiar from new inputs: anti-Hebbian, without recurrence.

    `STPNFeedforward` with norm "none", activation "sigmoid" and one decay and one rate for all
    synapses, learnt as Lambda = sigmoid(weight_lambda_logit) and Gamma = -exp(weight_log_gamma).

    Tyulmankov, Yang, Abbott: Meta-learning synaptic plasticity and memory addressing for continual
    familiarity detection, Neuron 110, 2022. Its other arguments are those of `STPNFeedforward`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, device: Device = None,
                 dtype: torch.dtype | None = None,
                 **options: Unpack[STPNFeedforwardOptions]) -> None:
        self._check_names(options)
        fixed: STPNFeedforwardOptions = {"norm": "none", "activation": "sigmoid"}
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, device,
                         dtype, rates="scalar", **(fixed | options))

    @classmethod
    def _argument_names(cls) -> list[str]:
        return [name for name in super()._argument_names() if name != "rates"]

    def _rate_starts(self, shape: tuple[int, ...], k: float) -> dict[str, Start]:
        logit, log = math.log(0.99 / 0.01), math.log(5 / self.hidden_size)
        return {"weight_lambda_logit": (shape, (logit, logit)),
                "weight_log_gamma": (shape, (log, log))}

    def _given(self, parameters: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        given = dict(super()._given(parameters))
        logit, log = given.pop("weight_lambda_logit"), given.pop("weight_log_gamma")
        assert logit is not None and log is not None
        return given | {"weight_lambda": logit.sigmoid(), "weight_gamma": -log.exp()}
