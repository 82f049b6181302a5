"""Three pictures of a unit at work, each made by one call. Needs matplotlib: `pip install '.[figures]'`.

Each returns a matplotlib Figure of the current backend: a notebook shows it, `savefig` writes it.
"""

from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from stpn.nn.unit import Unit


def _sample(unit: Unit, x: Tensor) -> Tensor:
    """The first sample of x as (T, 1, I)."""
    if x.dim() == 2:
        return x.unsqueeze(1)
    return x[:1].transpose(0, 1) if unit.batch_first else x[:, :1]


def _run(unit: Unit, x: Tensor, state: Any = None, **options: Any) -> Any:
    """The unit over x (T, B, I), in its way of laying out a batch, without gradients."""
    with torch.no_grad():
        return unit(x.transpose(0, 1) if unit.batch_first else x, state, **options)


def _check(unit: Unit, layer: int) -> None:
    """Raises TypeError or IndexError, in one line, for what is no unit, and a layer that it has not."""
    if not isinstance(unit, Unit):
        raise TypeError(f"{type(unit).__name__}: is not a unit of stpn; of a cell, give cell.unit")
    if not 0 <= layer < unit.num_layers:
        raise IndexError(f"{type(unit).__name__}: layer is {layer}, wants a number from 0 to {unit.num_layers - 1}")


def _fast(state: Any, layer: int) -> Tensor:
    """The fast weights of a layer (B, H, P)."""
    return next(field for field in state if isinstance(field, tuple))[layer]


def fast_weights_over_time(unit: Unit, x: Tensor, layer: int = 0, synapses: int = 40) -> plt.Figure:
    """Fast weights of the first sample of x, step by step: the synapses that change most, a line each,
    and above them the norm of all.

    x: as the unit takes it.
    """
    _check(unit, layer)
    x = _sample(unit, x)
    state, steps = None, []
    for t in range(x.size(0)):
        _, state = _run(unit, x[t:t + 1], state)[:2]
        steps.append(_fast(state, layer)[0].flatten())
    weights = torch.stack(steps)
    most = (weights.max(0).values - weights.min(0).values).topk(min(synapses, weights.size(1))).indices
    figure, (above, below) = plt.subplots(2, 1, sharex=True, layout="constrained", height_ratios=[1, 3])
    time = list(range(1, len(steps) + 1))
    above.plot(time, weights.norm(dim=1).tolist(), color="black")
    above.set_ylabel("norm of all")
    below.plot(time, weights[:, most].tolist(), linewidth=0.8)
    below.set_ylabel(f"the {len(most)} that change most")
    below.set_xlabel("time step")
    above.set_title(f"Fast weights of {type(unit).__name__}, layer {layer}")
    return figure


def efficacy_histogram(unit: Unit, state: Any, layer: int = 0) -> plt.Figure:
    """How strong the synapses with fast weights are: trained weights alone, and with the fast weights
    of a state, over all samples. For units whose efficacy is a sum of both: `STPN`,
    `STPNFeedforward`, `HebbFF`.
    """
    _check(unit, layer)
    fast = _fast(state, layer).detach()
    fast = fast.unsqueeze(0) if fast.dim() == 2 else fast
    slow = getattr(unit, f"weight_l{layer}", None)
    if slow is None or not hasattr(unit, "rates"):
        raise TypeError(f"{type(unit).__name__}: its efficacy is not W + F")
    first = slow.size(1) - fast.size(2) if unit.options.get("connections") == "recurrent" else 0
    slow = slow.detach()[:, first:first + fast.size(2)]
    both = (slow + fast).flatten()
    figure, axes = plt.subplots(layout="constrained")
    ends = float(min(both.min(), slow.min())), float(max(both.max(), slow.max()))
    for values, name in ((slow.flatten(), "W"), (both, "W + F")):
        axes.hist(values.tolist(), bins=60, range=ends, density=True, histtype="step", label=name)
    axes.set_xlabel("efficacy")
    axes.set_ylabel("density")
    axes.set_title(f"Synapses of {type(unit).__name__}, layer {layer}")
    axes.legend()
    return figure


def energy_per_neuron(unit: Unit, x: Tensor, layer: int = 0) -> plt.Figure:
    """Energy of each neuron at each step, mean over the samples of x, and in all.

    x: as the unit takes it.
    """
    _check(unit, layer)
    x = x.unsqueeze(1) if x.dim() == 2 else x.transpose(0, 1) if unit.batch_first else x
    energy = _run(unit, x, energy=True)[2][layer]
    energy = energy.mean(0 if unit.batch_first else 1)  # (T, H)
    figure, (left, right) = plt.subplots(1, 2, layout="constrained", width_ratios=[3, 1], sharey=True)
    image = left.imshow(energy.T.tolist(), aspect="auto", origin="lower", interpolation="nearest",
                        extent=(0.5, energy.size(0) + 0.5, -0.5, energy.size(1) - 0.5))
    left.set_xlabel("time step")
    left.set_ylabel("neuron")
    figure.colorbar(image, ax=left, label="energy")
    right.barh(range(energy.size(1)), energy.mean(0).tolist(), height=0.8)
    right.set_xlabel("mean energy")
    figure.suptitle(f"Energy of {type(unit).__name__}, layer {layer}")
    return figure
