"""Reads runs of `stpn train`, finished or not: summary.json and metrics.jsonl."""

import json
import math
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from stpn.runs.kinds import EPOCHS, WALL_SECONDS, Kind, kind_of, kind_of_line, number

# The names of models in tables and figures, in the order in which they are shown.
NAMES = {
    "stpn": "STPN",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn": "RNN",
    "fast_weights": "Fast weights",
    "modplast": "Modplast",
    "stpn_gated": "Gated STPN",
    "stpn_gated_delta": "Gated STPN, delta",
    "gated_delta": "Gated delta rule",
    "gru_beside_stpn": "GRU beside STPN",
    "stpn_small": "STPNr, 30 neurons",
    "stpn_current": "STPN, current",
    "stpn_scalar": "STPN, scalar",
    "stpn_feedforward": "STPNf",
    "stpn_feedforward_scalar": "STPNf, scalar",
    "stpn_anti": "STPNf, anti-Hebbian",
    "hebbff": "HebbFF",
    "lstm_normalised": "LSTM, normalised",
    "rnn_normalised": "RNN, normalised",
    "perceptron": "Perceptron",
    "stpn_a2c": "STPN",
    "lstm_a2c": "LSTM",
    "gru_a2c": "GRU",
    "perceptron_a2c": "Perceptron",
}

# What a run is. Only finished runs are in means.
FINISHED = "finished"
UNFINISHED = "unfinished"  # still running, killed, or with files that cannot be read
DIVERGED = "diverged"  # stopped because a value was NaN or infinite, or a value that is shown is null
OTHER_TASK = "of another task"  # than the runs beside it


class RunError(Exception):
    """Runs that cannot be shown. The message names the folder and the reason."""


@dataclass
class Run:
    name: str
    model: str
    task: str | None  # None: not known
    kind: Kind | None  # of the task; None: not known, and there are no epochs
    seed: int | None
    parameters: int | None
    metrics: dict  # those of summary.json, and its wall_seconds; without a summary, none
    baselines: dict  # name to accuracy or reward, to compare the metrics with
    epochs: list  # the lines of metrics.jsonl up to the first that cannot be shown
    state: str = FINISHED
    reason: str = ""  # for a state other than finished
    folder: Path | None = None

    def curve(self, metric):
        return [epoch[metric] for epoch in self.epochs]

    @property
    def finished(self):
        return self.state == FINISHED

    def how_it_ended(self):
        """For example "unfinished after 37 epochs: no summary.json"."""
        if not self.epochs or self.state == OTHER_TASK:
            return f"{self.state}: {self.reason}"
        time = self.kind.time
        done = number(time, self.epochs[-1][time.key])
        label = time.label.removesuffix("s") if done == "1" else time.label
        return f"{self.state} after {done} {label}: {self.reason}"


@dataclass(frozen=True)
class Problem:
    """Why a file of a run cannot be shown, or not all of it."""
    state: str  # UNFINISHED or DIVERGED
    reason: str


def name_of(model, kind):
    """The name of a model in tables and figures."""
    return (kind.names if kind else {}).get(model, NAMES.get(model, model))


def baseline_label(name, kind):
    """The name in tables and figures: "no binding" for "no_binding_accuracy"."""
    return name.removesuffix(f"_{kind.noun}").replace("_", " ")


def printable(text):
    """The text, with escapes for bytes of a file's name that are not UTF-8."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def is_run_folder(folders, files):
    """Whether a folder with these folders and files in it is one in which `stpn train` has begun to
    work. A reproduction has a lock too, beside the folders of its sets."""
    made = {"summary.json", "metrics.jsonl", "config.toml", "checkpoint", "diverged"}
    return not made.isdisjoint(folders + files) or "lock" in files and not folders


def attempt(what, action):
    """Returns (result of action(), None), or (None, problem) if `what` is not as a run writes it."""
    try:
        return action(), None
    except FileNotFoundError:
        return None, Problem(UNFINISHED, f"no {what}")
    except OSError as error:
        return None, Problem(UNFINISHED, f"{what}: {error.strerror}")
    except KeyError as error:
        return None, Problem(UNFINISHED, f"{what}: has no {error}")
    except (AttributeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return None, Problem(UNFINISHED, f"{what}: not an output of a run: {error}")


def read_text(path):
    """The text of the file. Bytes that are not UTF-8 are replaced: the lines before them can be read."""
    return path.read_text(encoding="utf-8", errors="replace")


def not_finite(values, measures):
    """The first of the measures that is NaN or infinite, as "energy_per_step is null"; else None."""
    wrong = [f"{measure.key} is {json.dumps(values[measure.key])}" for measure in measures
             if values[measure.key] is None or not math.isfinite(values[measure.key])]
    return wrong[0] if wrong else None


def parse_summary(text):
    """(content, measure that is not finite or None) of summary.json; wall_seconds is put among its
    metrics."""
    summary = json.loads(text)
    json.dumps(summary, ensure_ascii=False).encode()  # raises for text that could not be printed
    for key, kind in (("model", str), ("task", str), ("seed", int), ("parameters", int)):
        if not isinstance(summary[key], kind):
            raise TypeError(f"{key} is {json.dumps(summary[key])}")
    metrics = summary["metrics"] = {**summary["metrics"], "wall_seconds": summary["wall_seconds"]}
    summary["baselines"] = {name: value for name, value in summary["baselines"].items()
                            if value is not None and math.isfinite(value)}
    kind = kind_of(metrics)
    return summary, not_finite(metrics, (*kind.scores, *kind.costs, kind.seconds, WALL_SECONDS))


def read_summary(path):
    """(content or None, problem or None) of summary.json."""
    parsed, problem = attempt("summary.json", lambda: parse_summary(read_text(path)))
    if not parsed:
        return None, problem
    summary, wrong = parsed
    return summary, Problem(DIVERGED, f"summary.json: {wrong}") if wrong else None


def parse_line(line, kind):
    """(content, kind, measure that is not finite or None) of a line of metrics.jsonl. A `kind` of None
    is taken from the line."""
    values = json.loads(line)
    kind = kind or kind_of_line(values)
    return values, kind, not_finite(values, (kind.time, *kind.curves, kind.learning, EPOCHS))


def read_epochs(path, kind):
    """(lines, kind, problem or None) of metrics.jsonl: the lines up to the first that cannot be
    shown. A `kind` of None is taken from the first line."""
    text, problem = attempt("metrics.jsonl", lambda: read_text(path))
    epochs = []
    for i, line in enumerate((text or "").splitlines(), 1):
        where = f"metrics.jsonl, line {i}"
        parsed, problem = attempt(where, lambda: parse_line(line, kind))
        if problem:
            break
        values, kind, wrong = parsed
        if not epochs and values.get("reward", 0) is None:  # no episode has ended yet
            continue
        if wrong:
            problem = Problem(DIVERGED, f"{where}: {wrong}")
            break
        epochs.append(values)
    if not epochs and not problem:
        reason = "metrics.jsonl: no episode has ended yet" if text else "metrics.jsonl is empty"
        problem = Problem(UNFINISHED, reason)
    return epochs, kind, problem


def task_of(folder):
    """The task in config.toml, which an unfinished run has too; None if that cannot be read."""
    def read():
        return str(tomllib.loads(read_text(folder / "config.toml"))["task"]["name"])

    return attempt("config.toml", read)[0]


def read_run(folder, model=None):
    """The run in `folder`, as far as it can be read. `model` is that of a run without a summary; by
    default it follows from the folder. Raises RunError if it is not a folder of a run."""
    folder = Path(folder)
    _, folders, files = next(os.walk(folder), (None, [], []))
    if not is_run_folder(folders, files):
        raise RunError(f"{folder}: " + (
            "is not the folder of a run: it has no summary.json, metrics.jsonl or config.toml"
            if folder.exists() else "does not exist"))
    summary, of_summary = read_summary(folder / "summary.json")
    kind = kind_of(summary["metrics"]) if summary else None
    epochs, kind, of_epochs = read_epochs(folder / "metrics.jsonl", kind)
    problem = of_summary or of_epochs or Problem(FINISHED, "")
    if of_epochs and of_epochs.state == DIVERGED:  # that says more than a summary that is missing
        problem = of_epochs
    if not summary and "diverged" in files:  # the mark of a run that stopped itself
        text, _ = attempt("diverged", lambda: read_text(folder / "diverged"))
        problem = Problem(DIVERGED, printable(" ".join((text or "no reason given").split())))
    if not summary:
        named_by_seed = re.fullmatch(r"seed\d+", folder.name)
        named = folder.resolve().parent if named_by_seed else folder.resolve()
        model = model or printable(named.name)
        return Run(name_of(model, kind), model, task_of(folder), kind, None, None, {}, {}, epochs,
                   problem.state, problem.reason, folder)
    model = summary["model"]
    return Run(name_of(model, kind), model, summary["task"], kind, summary["seed"],
               summary["parameters"], summary["metrics"], summary["baselines"], epochs,
               problem.state, problem.reason, folder)


def common_kind(runs):
    """The kind of runs of one task, with the measures that all finished ones have; without a finished
    one, those that all have. None if no run has completed an epoch."""
    kinds = [run.kind for run in runs if run.finished] or [run.kind for run in runs if run.kind]
    if not kinds:
        return None
    known = [{measure.key for measure in (*kind.scores, *kind.costs)} for kind in kinds]
    return kinds[0].of(set.intersection(*known))


def of_one_task(runs):
    """Returns the runs. Raises RunError if they are of different tasks."""
    for values in ({run.task for run in runs if run.task},
                   {f"those with a {run.kind.noun}" for run in runs if run.kind}):
        if len(values) > 1:
            raise RunError("runs of different tasks cannot be shown together: "
                           + ", ".join(sorted(values)))
    return runs


def read_runs(folders):
    """The runs in the folders. Runs of the same model are named by folder. Raises RunError if they
    are of different tasks or none has completed an epoch."""
    runs = of_one_task([read_run(folder) for folder in folders])
    if not any(run.epochs for run in runs):
        raise RunError(f"{folders[0]}: {runs[0].how_it_ended()}; no run has completed an epoch")
    names = [run.name for run in runs]
    for run, folder in zip(runs, folders):
        if names.count(run.name) > 1:
            run.name += f" ({printable(Path(folder).name)})"
    return runs
