"""Finds the runs of a report, in any folders, and groups them by task and by set."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from stpn.runs.sets import by_number, make_set, run_folders
from stpn.runs import RunError, printable, read_run


@dataclass
class Task:
    """The runs of a task."""
    name: str
    sets: list  # of RunSet, with unique names

    @property
    def title(self):
        return self.name.replace("_", " ").capitalize()

    @property
    def key(self):
        """As part of a file's name or of an address."""
        return re.sub(r"\W+", "_", self.name)


def place_of(folder):
    """(folder of the set, model, seed) of a run: from <set>/<model>/seed<N>, else <set>/<model>."""
    if re.fullmatch(r"seed\d+", folder.name):
        return folder.parent.parent, folder.parent.name, folder.name
    return folder.parent, folder.name, ""


def find_runs(folders):
    """{(folder of the set, model, seed): run}."""
    found = {}
    for folder in folders:
        paths = run_folders(folder)
        if not paths:
            raise RunError(f"{folder}: " + ("has no run (a folder with a summary.json or metrics.jsonl)"
                                            if Path(folder).exists() else "does not exist"))
        for path in paths:
            place, model, seed = place_of(path)
            found[place, model, seed] = read_run(path, printable(model))
    return found


def task_of_set(runs):
    """The task that most of the runs of a folder name, for those that cannot say what theirs is."""
    named = Counter(run.task for run in runs if run.task)
    return named.most_common(1)[0][0] if named else "unknown task"


def names_of(places):
    """{folder of a set: name}: its own, and so many of the folders above as tell it from the others."""
    for parts in range(1, 8):
        names = {place: printable("/".join(place.parts[-parts:])) for place in places}
        if len(set(names.values())) == len(names):
            break
    short = Counter(place.name for place in places)
    return {place: printable(place.name) if short[place.name] == 1 else name for place, name in names.items()}


def find_tasks(folders):
    """The tasks of the runs in the folders, in the order of their names. Raises RunError if there is no
    run, or none that has completed an epoch."""
    of_places = defaultdict(dict)
    for (place, model, seed), run in find_runs(folders).items():
        of_places[place][printable(model), seed] = run
    tasks = defaultdict(lambda: defaultdict(dict))
    for place, runs in of_places.items():
        usual = task_of_set(runs.values())
        for key, run in runs.items():
            tasks[run.task or usual][place][key] = run
    gathered = []
    for name in sorted(tasks):
        names = names_of(tasks[name])
        sets = [make_set(names[place], runs) for place, runs in tasks[name].items()]
        gathered.append(Task(printable(name), sorted(sets, key=lambda each: by_number(each.name))))
    if not any(runs.drawn() for task in gathered for runs in task.sets):
        raise RunError(f"{', '.join(map(str, folders))}: no run has completed an epoch")
    return gathered
