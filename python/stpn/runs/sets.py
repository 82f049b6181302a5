"""Finds runs in folders and groups them into sets, one for each table."""

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from stpn.runs.kinds import Kind
from stpn.runs import (OTHER_TASK, RunError, common_kind, is_run_folder, name_of, printable,
                       read_run)
from stpn.runs.styles import position


@dataclass
class RunSet:
    """The runs of one task that are in folders <name>/<model>/<seed>."""
    name: str
    task: str | None  # None: no run says
    kind: Kind | None  # None: no run has completed an epoch
    baselines: dict
    models: dict  # model to its finished runs, perhaps none, in the order in which they are shown
    others: dict  # (model, seed) to a run that is not finished or is of another task

    @property
    def finished(self):
        """Model to its finished runs, without the models that have none."""
        return {model: runs for model, runs in self.models.items() if runs}

    def stopped(self, model):
        """The runs of this task that are not in the means of the model."""
        return [run for (of, _), run in self.others.items()
                if of == model and run.state != OTHER_TASK]

    def drawn(self):
        """The runs of which there is a curve."""
        return [run for model, runs in self.models.items() for run in runs + self.stopped(model)
                if run.epochs]

    def model_name(self, model):
        return (self.models[model] or self.stopped(model))[0].name

    @property
    def task_title(self):
        text = (self.task or self.name).replace("_", " ")
        return text[0].upper() + text[1:]

    @property
    def title(self):
        """The task and the set in words: "Associative retrieval, pairs = 3"."""
        words = re.sub(r"(?<=[^\W\d_])_?(\d+)$", r" = \1", self.name).replace("_", " ")
        return self.task_title + (f", {words}" if self.task not in (None, self.name) else "")


def by_number(name):
    """Sort key that puts pairs4 before pairs16."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def run_folders(folder):
    """The run folders in the folder, which may be one itself."""
    return sorted(Path(path) for path, folders, files in os.walk(Path(folder).resolve())
                  if is_run_folder(folders, files))


def find_folders(folders):
    """{(set, model, seed): folder of a run}, in the order of their names."""
    found = {}
    for folder in folders:
        runs = run_folders(folder)
        if not runs:
            raise RunError(f"{folder}: has no run (a folder with a summary.json or metrics.jsonl)")
        for run in runs:
            place = run.parts[-3:]
            if len(place) < 3:
                raise RunError(f"{run}: must be in a folder <set>/<model>/<seed>")
            if found.setdefault(place, run) != run:
                raise RunError(f"{found[place]} and {run}: both are {'/'.join(place)}; give one of "
                               "them")
    return dict(sorted(found.items(), key=lambda item: by_number("/".join(item[0]))))


def find_sets(folders):
    """The sets, in the order in which they are shown."""
    sets = defaultdict(dict)
    for place, folder in find_folders(folders).items():
        name, model, seed = map(printable, place)
        sets[name][model, seed] = read_run(folder, model)
    return [make_set(name, sets[name]) for name in sorted(sets, key=by_number)]


def main_task(runs):
    """(task, kind) of most of the runs; those that are finished decide, if there are any."""
    deciding = [run for run in runs if run.finished] or [run for run in runs if run.kind]
    if not deciding:
        return None, None
    (task, noun), _ = Counter((run.task, run.kind.noun) for run in deciding).most_common(1)[0]
    return task, common_kind([run for run in deciding if (run.task, run.kind.noun) == (task, noun)])


def is_of(run, task, kind):
    """Whether the run is of this task, as far as its files say."""
    return ((run.kind is None or run.kind.noun == kind.noun)
            and (run.task is None or task is None or run.task == task))


def make_set(name, runs):
    """The set of the runs {(model, seed): run}."""
    task, kind = main_task(list(runs.values()))
    models, others, baselines = defaultdict(list), {}, {}
    for (model, seed), run in runs.items():
        if not is_of(run, task, kind):
            of_run = run.task or f"one with a {run.kind.noun}"
            run.state, run.reason = OTHER_TASK, f"{of_run}, not {task or f'one with a {kind.noun}'}"
            others[model, seed] = run
            continue
        # A model with a folder of its own (`stpn train --out`) is named by the folder.
        run.name = name_of(model, kind) if run.model == model else model
        finished = models[model]  # a model of which no run has finished is shown too
        if run.finished:
            finished.append(run)
        else:
            others[model, seed] = run
        for baseline, value in run.baselines.items():
            baselines.setdefault(baseline, value)
    of_different_seeds(models)
    return RunSet(name, task, kind, baselines,
                  {model: models[model] for model in sorted(models, key=position)}, others)


def of_different_seeds(models):
    for model, runs in models.items():
        seeds = [run.seed for run in runs]
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise RunError(f"{model}: has several runs of seed {seed}, which would count as "
                               "independent: put variants into folders of their own")
