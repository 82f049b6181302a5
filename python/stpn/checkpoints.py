"""Weights of a unit from the program's checkpoints, and back; and those of the published code.

A checkpoint is one safetensors file (docs/formats.md). In it a unit's parameters are called
`unit.NAME`, with the names of the ops; in a module of this package NAME_l0.
"""

import json
import os
import struct
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stpn import safetensors
from stpn.nn import STPN, Backpropamine, FastWeights, HebbFF, STPNFeedforward
from stpn.nn.unit import Unit
from stpn.runs.files import whole
from stpn.signature import current_value

UNITS: dict[str, type[Unit]] = {"stpn_recurrent": STPN, "stpn_feedforward": STPNFeedforward,
                                "fast_weights": FastWeights, "backpropamine": Backpropamine}


# The program's options that say where training starts and what bounds it there: a unit that has been
# trained has no use for them.
OF_TRAINING = ("initialisation", "lambda_low", "lambda_high", "gamma_low", "gamma_high", "bounded_lambda")


class CheckpointError(Exception):
    """A file that is no checkpoint, or one that does not fit. The message is one line."""


def _read(path: Path) -> tuple[dict[str, Any], bytearray]:
    try:
        return safetensors.read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is no whole safetensors file: {error}") from None


def _config(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    try:
        return tomllib.loads(json.loads(header["__metadata__"]["stpn"])["config"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path}: is not a checkpoint of stpn") from None


def _file_of(path: str | os.PathLike[str]) -> Path:
    """The file itself, or that of a run folder: the best weights, else the last."""
    path = Path(path)
    if not path.is_dir():
        return path
    files = [path / "checkpoint" / f"{which}.safetensors" for which in ("best", "last")]
    found = [file for file in files if file.is_file()]
    if not found:
        raise CheckpointError(f"{path}: has no checkpoint/last.safetensors: is it a run folder?")
    return found[0]


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All float32 tensors of a checkpoint, by name, without the optimiser's.

    path: a file, or a run folder. Raises CheckpointError.
    """
    file = _file_of(path)
    header, data = _read(file)
    weights = {}
    for name, entry in header.items():
        if name == "__metadata__" or name.startswith("adam.") or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(data[begin:end], dtype=torch.float32) if end > begin else torch.empty(0)
        weights[name] = values.reshape(entry["shape"]).clone()
    return weights


def load_unit(path: str | os.PathLike[str]) -> Unit:
    """The unit of a run of the program, with its options and weights.

    path: a checkpoint, or a run folder, of which the best weights count, else the last. Raises
    CheckpointError for a file that is no checkpoint, and for a unit that is torch's own, such as
    an LSTM.
    """
    file = _file_of(path)
    table = _config(file, _read(file)[0]).get("unit", {})
    if table.get("name") not in UNITS:
        raise CheckpointError(f"{file}: its unit is {table.get('name')}; here are {', '.join(UNITS)}")
    try:
        return unit_of(table, load_weights(file))
    except KeyError as error:
        raise CheckpointError(f"{file}: has no {error}") from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: {' '.join(str(error).split())}") from None


def unit_of(table: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Unit:
    """A unit from the table [unit] of a run's config.toml, whose name is one of UNITS, and the tensors
    of its checkpoint. Raises KeyError, TypeError, ValueError or RuntimeError if they do not fit."""
    options = {key: current_value(key, value) for key, value in table.items()}
    kind = UNITS[options.pop("name")]
    if options.pop("parametrisation", "plain") == "hebbff":
        kind = HebbFF
        options.pop("rates")
    for option in OF_TRAINING:
        options.pop(option, None)
    hidden_size = options.pop("hidden_size")
    weights = {key.removeprefix("unit."): value for key, value in tensors.items() if key.startswith("unit.")}
    matrix = weights["weight_ih" if kind is Backpropamine else "weight"]
    recurrent = hidden_size if kind in (STPN, FastWeights) else 0
    unit = kind(matrix.size(1) - recurrent, hidden_size, **options)
    unit.load_state_dict({f"{key}_l0": value for key, value in weights.items()})
    return unit


def save_unit(unit: Unit, path: str | os.PathLike[str]) -> None:
    """Puts the weights of a unit of one layer into a checkpoint of the program, which has one of
    the same shapes; everything else in it stays. The program then evaluates it, and trains on.

    path: a file. Written completely or not at all. Raises CheckpointError, with nothing written.
    """
    file = Path(path)
    header, data = _read(file)
    _config(file, header)
    if unit.num_layers != 1:
        raise CheckpointError(f"{file}: holds a unit of one layer, and this one has {unit.num_layers}")
    for key, value in unit.state_dict().items():
        entry = header.get(f"unit.{key.removesuffix('_l0')}")
        if entry is None or tuple(entry["shape"]) != tuple(value.shape) or entry["dtype"] != "F32":
            raise CheckpointError(f"{file}: has no unit.{key.removesuffix('_l0')} of shape "
                                  f"{tuple(value.shape)}")
        begin, end = entry["data_offsets"]
        values = value.detach().to(torch.float32).contiguous().flatten().tolist()
        data[begin:end] = struct.pack(f"<{len(values)}f", *values)
    with whole(file) as partial, partial.open("wb") as stream:
        stream.write(safetensors.packed(header, data))
        stream.flush()
        os.fsync(stream.fileno())


# What the published code calls the parameters, where it does not call them as we do.
PUBLISHED = {"layer_norm_weight": ("layer_norm.weight",), "layer_norm_bias": ("layer_norm.bias",),
             "weight_lambda_logit": ("_weight_lambda",), "weight_log_gamma": ("_weight_gamma",),
             "weight_ih": ("i2h.weight",), "weight_hh": ("w",), "modulator_weight": ("h2DA.weight",),
             "modulator_bias": ("h2DA.bias",), "rate": ("eta", "etaet")}


def load_published(unit: Unit, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Loads the parameters of a `state_dict` of the paper's published code into a unit of one layer.

    prefix: where the unit's parameters are in it, such as "rnn.". Raises CheckpointError, with the
    unit unchanged, if one is missing or has another number of values.
    """
    found = {}
    for name, own in unit.state_dict().items():
        name = name.removesuffix("_l0")
        names = PUBLISHED.get(name, (name,))
        if name == "bias" and isinstance(unit, Backpropamine):
            names = ("i2h.bias",)
        given = [tensors[prefix + one] for one in names if prefix + one in tensors]
        if not given or given[0].numel() != own.numel():
            raise CheckpointError(f"there is no {prefix}{' or '.join(names)} of {own.numel()} values: "
                                  f"{', '.join(tensors)}")
        found[f"{name}_l0"] = given[0].reshape(own.shape)
    unit.load_state_dict(found)
