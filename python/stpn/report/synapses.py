"""The synapses at work: a trained STPN reads one sequence or plays one episode again, and what its
synapses did at each step goes into the page."""

import base64
import json
import os
import re
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy

from stpn.films import FilmError, Stpn, check_choices, is_stpn, read_config, read_weights

FRAMES = 100  # at most
STEPS = 250  # of an episode, at most
ACTIONS = {"maze": ["up", "down", "left", "right"]}


class SynapsesError(Exception):
    """Synapses that cannot be shown. The message says why."""


def program():
    """The program that records an episode: that which runs us, else the one that was built here."""
    given = os.environ.get("STPN_PROGRAM")
    built = Path(__file__).resolve().parents[3] / "build" / "bin" / "stpn"
    return given or (str(built) if built.is_file() else None)


def weights_of(run):
    """The checkpoint that `stpn eval` tests."""
    best, last = (run / "checkpoint" / f"{name}.safetensors" for name in ("best", "last"))
    return best if best.is_file() else last


def record(run):
    """The trace of the first test sequence or episode."""
    if program() is None:
        raise SynapsesError("there is no program stpn that could record an episode: make build")
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        ended = subprocess.run([program(), "eval", str(run), "--episodes", "1", "--trace", str(trace)],
                               capture_output=True, text=True)
        if ended.returncode != 0:
            reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            raise SynapsesError(reason.removeprefix("stpn: "))
        return json.loads(trace.read_text())


def packed(array):
    """base64 of the deflated bytes of an array of int8, for the page's script."""
    return base64.b64encode(zlib.compress(array.astype(numpy.int8).tobytes(), 9)).decode()


def scaled(array):
    """(int8 values, bound): value / 127 * bound is the array."""
    bound = float(abs(array).max()) or 1.0
    return numpy.rint(array / bound * 127), bound


def symbols(config):
    """The names of the inputs of associative retrieval: letters, digits and a question mark."""
    keys, values = config["task"].get("keys", 26), config["task"].get("values", 10)
    letters = [chr(ord("a") + i) if keys <= 26 else f"k{i}" for i in range(keys)]
    return letters + [str(i) if values <= 10 else f"v{i}" for i in range(values)] + ["?"]


def input_names(config, inputs):
    task = config["task"]["name"]
    if task == "associative_retrieval":
        return symbols(config)
    if task == "maze":
        near = ["wall up left", "wall up", "wall up right", "wall left", "wall here", "wall right",
                "wall down left", "wall down", "wall down right"]
        return near + ["unused", "one", "time", "reward", *(f"went {name}" for name in ACTIONS["maze"])]
    if task == "inverted_pendulum":
        return (["position", "angle"] if inputs == 2 else ["position", "angle", "velocity", "angular velocity"])
    return [f"input {i}" for i in range(inputs)]


def what_happened(config, trace, every, steps):
    """What the page shows beside the synapses: what the network saw and did."""
    task = config["task"]["name"]
    if "answers" in trace:
        shown = {"kind": "sequence", "inputs": [int(numpy.argmax(x)) for x in trace["observations"]],
                 "answers": trace["answers"], "targets": trace["targets"]}
        one_hot = all(sorted(set(x)) in ([0, 1], [1]) and sum(x) == 1 for x in trace["observations"])
        return shown if one_hot else shown | {"kind": "numbers", "numbers": trace["observations"]}
    rewards = numpy.cumsum(trace["rewards"][:steps])[::every]
    common = {"rewards": [round(float(value), 4) for value in rewards]}
    if task == "maze":
        return common | {"kind": "maze", "walls": trace["walls"], "reward_cell": trace["reward_cell"],
                         "positions": trace["positions"][:steps + 1],
                         "actions": [ACTIONS["maze"][a] for a in trace["actions"][:steps:every]]}
    if task == "inverted_pendulum":
        return common | {"kind": "pendulum", "qpos": numpy.round(trace["qpos"][1:steps + 1:every], 5).tolist(),
                         "actions": numpy.round(numpy.ravel(trace["actions"][:steps:every]), 3).tolist()}
    return common | {"kind": "numbers", "numbers": trace["observations"][:steps:every]}


def check(outputs, trace, config, run):
    """Raises SynapsesError unless the STPN that ran again does what the trace says."""
    if "answers" in trace:
        found = outputs.argmax(1) if outputs.shape[1] > 1 else outputs[:, 0] > 0
        same = (found == numpy.array(trace["answers"])).all()
    elif isinstance(trace["actions"][0], list):
        wide = 3  # the limits of the pendulum's action
        traced = numpy.array(trace["actions"])[:len(outputs)]
        same = abs(numpy.clip(wide * outputs[:, :traced.shape[1]], -wide, wide) - numpy.clip(traced, -wide, wide)).max() < 1e-2
    else:
        drawn = config["train"]["algorithm"] == "actor_critic"
        names = [str(i) for i in range(outputs.shape[1])]
        try:
            check_choices(outputs, trace["actions"][:len(outputs)], names, drawn)
            same = True
        except FilmError:
            same = False
    if not same:
        raise SynapsesError(f"{run}: its STPN, run again by the ops, acts otherwise than the program says")


def synapses_of(run):
    """What the page shows of a run, as an object for JSON."""
    config = read_config(run)
    if not is_stpn(config["unit"]):
        raise SynapsesError(f"{run}: its unit is no STPN with plain parameters")
    path = weights_of(run)
    if not path.is_file():
        raise SynapsesError(f"{run}: has no checkpoint")
    weights = read_weights(path)
    if any(name.startswith("encoder.") for name in weights):
        raise SynapsesError("the agent sees images: python -m stpn.pong_film makes a film of it")
    trace = record(run)
    steps = min(STEPS, len(trace["answers" if "answers" in trace else "actions"]))
    every = -(-steps // FRAMES)
    stpn = Stpn(config["unit"], weights)
    outputs, fast, energies, strength = [], [], [], []
    for t in range(steps):
        output, energy = stpn.step(trace["observations"][t])
        outputs.append(output)
        strength.append(float(abs(stpn.fast_weights).mean()))
        energies.append(float(energy.sum()))
        if t % every == 0:
            fast.append(stpn.fast_weights.copy())
    check(numpy.array(outputs), trace, config, run)
    fast = numpy.stack(fast)  # (frames, H, presynaptic)
    weight = weights["unit.weight"]
    inputs = len(trace["observations"][0])
    columns = fast.shape[2]
    fixed = weight[:, :columns] if columns != stpn.neurons or columns == weight.shape[1] else weight[:, -columns:]
    values, bound = scaled(fast)
    still, weight_bound = scaled(fixed)
    names = input_names(config, inputs)
    presynaptic = names + [f"neuron {i + 1}" for i in range(columns - inputs)] if columns >= inputs else [
        f"neuron {i + 1}" for i in range(columns)]
    return {"frames": len(fast), "every": every, "neurons": stpn.neurons, "columns": columns,
            "inputs": inputs if columns >= inputs else 0, "presynaptic": presynaptic, "names": names,
            "fast": packed(values), "fastBound": bound, "weight": packed(still), "weightBound": weight_bound,
            "strength": [float(f"{value:.4g}") for value in strength[::every]],
            "energy": [float(f"{value:.4g}") for value in energies[::every]],
            "shown": what_happened(config, trace, every, steps)}


def chosen(task):
    """The finished runs of a task that might be shown, the best of the model that comes first first."""
    found = []
    for runs in task.sets:
        for model, finished in runs.finished.items():
            for run in finished:
                if weights_of(run.folder).is_file() and model.startswith("stpn"):
                    found.append((model != "stpn", -run.metrics[runs.kind.scores[0].key], run))
    return [run for _, _, run in sorted(found, key=lambda each: each[:2])]


def at_work(task):
    """(run, object for the page) of a run of the task; (None, reason) if none can be shown."""
    runs = chosen(task)
    if not runs:
        return None, "none of these runs is a finished one of an STPN that has its checkpoint"
    try:
        return runs[0], synapses_of(runs[0].folder)
    except (SynapsesError, FilmError) as error:
        return None, str(error)
    except (ImportError, OSError) as error:
        return None, f"the ops cannot be loaded: {re.sub(chr(10), ' ', str(error))[:200]}: make build"
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        return None, f"{runs[0].folder}: not an output of a run: {type(error).__name__}: {str(error)[:100]}"
