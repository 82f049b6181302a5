"""What the films share: reading a run and its trace, running the STPN again, writing the pictures."""

import argparse
import json
import math
import sys
import tomllib
from pathlib import Path

import numpy
import PIL.Image

from stpn import safetensors
from stpn.runs import printable
from stpn.runs.files import whole

FORMATS = (".gif", ".png")
NEAR = 1e-3  # logits that differ by less are the same
DEVIATIONS = 5  # from what is expected, for draws that are no longer likely


class FilmError(Exception):
    """A film that cannot be made. The message says why."""


def film_parser(module, description):
    """A parser with the arguments of every film."""
    parser = argparse.ArgumentParser(prog=f"python -m stpn.{module}", description=description)
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("trace", type=Path, help="an episode of that run: stpn eval RUN --trace FILE")
    parser.add_argument("-o", "--out", type=Path, required=True, help=f"the film, {' or '.join(FORMATS)}")
    return parser


def check_name(parser, path):
    if path.suffix.lower() not in FORMATS:
        parser.error(f"{path}: the name of a film must end in {' or '.join(FORMATS)}")


def report(module, options, make):
    """Calls make(), which returns a line to print. An error is a line too. Returns the exit code."""
    try:
        print(make())
        return 0
    except (FilmError, ImportError, OSError) as error:
        reason = str(error)
    except (ArithmeticError, AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        # A damaged file, or files that do not belong together, such as a run that sees velocities and a
        # trace without.
        reason = (f"{options.run} and {options.trace} are no run and its trace: {type(error).__name__}: "
                  + " ".join(str(error).split())[:200])
    print(f"{module}: {printable(reason)}", file=sys.stderr)
    return 2


def read_weights(path):
    """Tensor name to array, of a safetensors file; without those of another type than float32."""
    header, data = safetensors.read(path)
    return {name: numpy.frombuffer(data[slice(*entry["data_offsets"])], numpy.float32).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"}


def read_config(run):
    return tomllib.loads((run / "config.toml").read_text())


def read(run, trace_path, task):
    """(config, weights, trace), the trace one of that task."""
    try:
        config = read_config(run)
        weights = read_weights(run / "checkpoint" / "last.safetensors")
        trace = json.loads(trace_path.read_text())
        if trace["task"] != task:
            raise FilmError(f"{trace_path}: is a trace of the task {trace['task']}, not of {task}")
        if not trace["actions"] or len(trace["observations"]) != len(trace["actions"]) + 1:
            raise FilmError(f"{trace_path}: the lengths of its lists do not match")
        return config, weights, trace
    except FileNotFoundError as error:
        raise FilmError(f"{error.filename}: does not exist") from None
    except KeyError as error:
        raise FilmError(f"{run} or {trace_path}: has no {error}") from None
    except (ValueError, TypeError) as error:
        raise FilmError(f"{run} or {trace_path}: cannot be read: {error}") from None


def is_stpn(unit):
    """Whether the unit, a table of a config, is one that `Stpn` can run."""
    return (unit["name"] in ("stpn_recurrent", "stpn_feedforward")
            and unit.get("parametrisation", "plain") == "plain")


def check_choices(outputs, actions, names, sampled):
    """Raises FilmError if a policy with these outputs, (steps, choices), would not act like that."""
    outputs = numpy.array(outputs, numpy.float64)
    if not numpy.isfinite(outputs).all():
        raise ValueError("the outputs of the policy are not finite")
    here = numpy.arange(len(actions)), numpy.array(actions)
    if not sampled:
        for t in numpy.flatnonzero(outputs.max(1) - outputs[here] > NEAR)[:1]:
            raise FilmError(f"step {t}: the most probable action is {names[outputs[t].argmax()]}, in the trace "
                            f"{names[actions[t]]}: is the trace of this run? With drawn actions: --sampled")
        return
    logs = outputs - numpy.log(numpy.exp(outputs - outputs.max(1, keepdims=True)).sum(1, keepdims=True))
    logs -= outputs.max(1, keepdims=True)
    expected = (numpy.exp(logs) * logs).sum(1)
    variance = (numpy.exp(logs) * (logs - expected[:, None]) ** 2).sum()
    if abs((logs[here] - expected).sum()) > DEVIATIONS * math.sqrt(variance) + NEAR * len(actions):
        raise FilmError("the actions of the trace are not drawn from the policy: is the trace of this run, "
                        "recorded with --sampled?")


class Stpn:
    """The STPN of a run, which runs again one step at a time from the state of zeros."""

    def __init__(self, unit, weights):
        """unit: the table of the run's config; weights: those of its checkpoint, as arrays."""
        import torch
        from stpn.checkpoints import unit_of

        tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
        self._unit = unit_of(unit, tensors)
        self._state = self._unit.initial_state(1)
        head = "policy" if "policy.weight" in weights else "head"
        self._head = tensors[f"{head}.weight"], tensors[f"{head}.bias"]
        self.recurrent = unit["name"] == "stpn_recurrent"
        self.neurons = self._unit.hidden_size

    def step(self, x):
        """Takes the inputs, (I). Returns the outputs of the head, which is the policy or the classifier,
        and the energy of each neuron."""
        import torch
        with torch.no_grad():
            output, self._state, energy = self._unit(
                torch.as_tensor(x, dtype=torch.float32).view(1, 1, -1), self._state, energy=True)
            weight, bias = self._head
            return (weight @ output[0, 0] + bias).numpy(), energy[0, 0, 0].numpy()

    @property
    def fast_weights(self):
        """F, (neurons, presynaptic inputs)."""
        return self._state.F[0][0].numpy()


def palette_of(pictures, colours):
    """An image with the palette of some pictures, from the first to the last."""
    chosen = [pictures[k * (len(pictures) - 1) // 7] for k in range(8)]
    width, height = chosen[0].size
    sheet = PIL.Image.new("RGB", (width, 8 * height))
    for k, picture in enumerate(chosen):
        sheet.paste(picture, (0, k * height))
    return sheet.quantize(colours, dither=PIL.Image.Dither.NONE)


def save(pictures, path, milliseconds, colours=64):
    """Writes the pictures, all with the same colours."""
    palette = palette_of(pictures, colours)
    reduced = [picture.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        reduced[0].save(partial, save_all=True, append_images=reduced[1:], duration=milliseconds, loop=0,
                        optimize=True)
