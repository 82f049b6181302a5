"""Reads finished runs of `stpn train`: summary.json and metrics.jsonl."""

import json
from dataclasses import dataclass
from pathlib import Path

from stpn.kinds import Kind, kind_of

# The names of models in tables and figures, in the order in which they are shown.
NAMES = {
    "stpn": "STPN",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn": "RNN",
    "fast_weights": "Fast weights",
    "modplast": "Modplast",
    "stpn_small": "STPNr, 30 neurons",
    "stpn_current": "STPN, current",
    "stpn_scalar": "STPN, scalar",
    "stpn_feedforward": "STPNf",
    "stpn_feedforward_scalar": "STPNf, scalar",
    "hebbff": "HebbFF",
    "lstm_normalised": "LSTM, normalised",
    "rnn_normalised": "RNN, normalised",
    "perceptron": "Perceptron",
}


class RunError(Exception):
    """A run folder that cannot be read. The message names the file and the reason."""


@dataclass
class Run:
    name: str
    model: str
    task: str
    kind: Kind  # of the task
    seed: int
    parameters: int
    metrics: dict  # those of summary.json, and its wall_seconds
    baselines: dict  # name to accuracy or reward, to compare the metrics with
    epochs: list  # the lines of metrics.jsonl

    def curve(self, metric):
        return [epoch[metric] for epoch in self.epochs]


def baseline_label(name, kind):
    """The name in tables and figures: "no binding" for "no_binding_accuracy"."""
    return name.removesuffix(f"_{kind.noun}").replace("_", " ")


def read_json(path, parse, check):
    """parse(text of the file). `check(content)` raises an error if something is missing or wrong."""
    try:
        content = parse(path.read_text())
        check(content)
        return content
    except FileNotFoundError:
        raise RunError(f"{path}: does not exist; give the folder of a run that has ended") from None
    except KeyError as error:
        raise RunError(f"{path}: has no {error}") from None
    except (AttributeError, ValueError, TypeError) as error:
        raise RunError(f"{path}: not an output of a run: {error}") from None


def check_summary(summary):
    for key in ("model", "task", "seed", "parameters"):
        summary[key]
    metrics = {**summary["metrics"], "wall_seconds": summary["wall_seconds"]}
    kind = kind_of(metrics)
    for measure in (*kind.scores, *kind.costs, kind.seconds):
        metrics[measure.key] + 0.0
    for value in summary["baselines"].values():
        value + 0.0


def read_run(folder):
    """The run in `folder`. Raises RunError if it is not a run or has not ended."""
    folder = Path(folder)
    summary = read_json(folder / "summary.json", json.loads, check_summary)
    kind = kind_of(summary["metrics"])
    epochs = read_json(
        folder / "metrics.jsonl",
        lambda text: [json.loads(line) for line in text.splitlines()],
        lambda lines: [line[measure.key] + 0.0 for line in lines
                       for measure in (kind.time, *kind.curves, kind.learning)])
    if not epochs:
        raise RunError(f"{folder / 'metrics.jsonl'}: empty; the run has not completed an epoch")
    model = summary["model"]
    return Run(kind.names.get(model, NAMES.get(model, model)), model, summary["task"], kind,
               summary["seed"], summary["parameters"],
               {**summary["metrics"], "wall_seconds": summary["wall_seconds"]},
               summary["baselines"], epochs)


def of_one_task(runs):
    """Returns the runs. Raises RunError if they are of different tasks."""
    tasks = sorted({run.task for run in runs})
    if len(tasks) > 1:
        raise RunError(f"runs of different tasks cannot be shown together: {', '.join(tasks)}")
    return runs


def read_runs(folders):
    """The runs in the folders, which must be of one task. Runs of the same model are named by folder."""
    runs = of_one_task([read_run(folder) for folder in folders])
    names = [run.name for run in runs]
    for run, folder in zip(runs, folders):
        if names.count(run.name) > 1:
            run.name += f" ({Path(folder).name})"
    return runs
