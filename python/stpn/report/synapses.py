"""The synapses at work: a trained STPN reads one sequence or plays one episode again, and what its
synapses did at each step goes into the page."""

import base64
import json
import os
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy

from stpn.films import FilmError, Stpn, check_choices, is_stpn, read_config, read_weights

FRAMES = 100  # at most
STEPS = 250  # of a sequence or an episode, at most
VALUES = 600_000  # of all frames together, so that the page stays small
LIMITS = {"inverted_pendulum": 3}  # of an action, where it is not 1
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
        seen = trace["observations"][:steps:every]
        asked = {key: trace[key][:steps:every] for key in ("answers", "targets")}
        if all(set(x) <= {0, 1} and sum(x) == 1 for x in seen):
            return asked | {"kind": "sequence", "inputs": [int(numpy.argmax(x)) for x in seen]}
        return asked | {"kind": "numbers", "numbers": numpy.round(seen, 4).tolist()}
    rewards = numpy.cumsum(trace["rewards"][:steps])[::every]
    common = {"rewards": [round(float(value), 4) for value in rewards]}
    if task == "maze":
        return common | {"kind": "maze", "walls": trace["walls"], "reward_cell": trace["reward_cell"],
                         "positions": trace["positions"][:steps + 1],
                         "actions": [ACTIONS["maze"][a] for a in trace["actions"][:steps:every]]}
    if task == "inverted_pendulum":
        return common | {"kind": "pendulum", "qpos": numpy.round(trace["qpos"][:steps:every], 5).tolist(),
                         "actions": numpy.round(numpy.ravel(trace["actions"][:steps:every]), 3).tolist()}
    return common | {"kind": "numbers", "numbers": numpy.round(trace["observations"][:steps:every], 4).tolist()}


def agrees(outputs, trace, config):
    """Whether a head with these outputs, (steps, outputs), does what the trace says."""
    count = len(outputs)
    if "answers" in trace:
        found = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(int)
        return (found == trace["answers"][:count]).all()
    actions = trace["actions"][:count]
    if isinstance(actions[0], list):
        limit = LIMITS.get(config["task"]["name"], 1)
        played, traced = (numpy.clip(each, -limit, limit) for each in (limit * outputs, numpy.array(actions)))
        return abs(played[:, :traced.shape[1]] - traced).max() < 1e-2
    try:
        names = [str(i) for i in range(outputs.shape[1])]
        check_choices(outputs, actions, names, sampled=config["train"]["algorithm"] == "actor_critic")
        return True
    except FilmError:
        return False


def trained_weights(config, weights, columns):
    """W of the plastic synapses, (H, columns)."""
    weight = weights["unit.weight"]
    return weight[:, -columns:] if config["unit"].get("connections") == "recurrent" else weight[:, :columns]


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
    stpn = Stpn(config["unit"], weights)
    steps = min(STEPS, len(trace["answers" if "answers" in trace else "actions"]))
    every = -(-steps // max(10, min(FRAMES, VALUES // stpn.fast_weights.size)))
    outputs, fast = [], []
    for t in range(steps):
        outputs.append(stpn.step(trace["observations"][t])[0])
        if t % every == 0:
            fast.append(stpn.fast_weights.copy())
    if not agrees(numpy.array(outputs), trace, config):
        raise SynapsesError(f"{run}: its STPN, run again by the ops, acts otherwise than the program says")
    fast = numpy.stack(fast)  # (frames, H, columns)
    columns, inputs = fast.shape[2], len(trace["observations"][0])
    inputs = 0 if config["unit"].get("connections") == "recurrent" else inputs
    values, bound = scaled(fast)
    fixed, fixed_bound = scaled(trained_weights(config, weights, columns))
    names = input_names(config, len(trace["observations"][0]))
    return {"frames": len(fast), "every": every, "neurons": stpn.neurons, "columns": columns, "inputs": inputs,
            "names": names, "presynaptic": names[:inputs] + [f"neuron {i + 1}" for i in range(columns - inputs)],
            "fast": packed(values), "fastBound": bound, "weight": packed(fixed), "weightBound": fixed_bound,
            "strength": [float(f"{value:.4g}") for value in abs(fast).mean(axis=(1, 2))],
            "shown": what_happened(config, trace, every, steps)}


def can_be_shown(run):
    """Whether it is a run of an STPN that has its checkpoint."""
    try:
        return is_stpn(read_config(run.folder)["unit"]) and weights_of(run.folder).is_file()
    except (OSError, KeyError, TypeError, ValueError):
        return False


def chosen(task):
    """The finished runs of a task that can be shown; first those of the model stpn, and of a model first
    those with the best score."""
    found = [(model != "stpn", -run.metrics[runs.kind.scores[0].key], run)
             for runs in task.sets for model, finished in runs.finished.items() for run in finished
             if can_be_shown(run)]
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
        return None, f"the STPN cannot be run again: {' '.join(str(error).split())[:200]}: make build"
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        return None, f"{runs[0].folder}: not an output of a run: {type(error).__name__}: {str(error)[:100]}"
