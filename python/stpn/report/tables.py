"""The tables of a report. Every number is a Cell that says what it is, of which runs."""

from dataclasses import dataclass, replace

from stpn.runs.kinds import number, plain
from stpn.report.statistics import interquartile_mean, interval
from stpn.reproduction import learnt_at, metric, seed_count
from stpn.runs import baseline_label

# Whose synapses do not change while a sequence is read: what an STPN is compared with at a glance.
FIXED = {"lstm", "gru", "rnn", "lstm_normalised", "rnn_normalised", "perceptron"}


@dataclass(frozen=True)
class Cell:
    text: str
    key: str = ""  # of the measure in summary.json, or in the lines of metrics.jsonl
    value: float | None = None
    low: float | None = None
    high: float | None = None
    model: str = ""


@dataclass
class Row:
    name: str
    model: str | None  # None: a baseline
    cells: list


@dataclass
class Table:
    columns: list  # the first is of the names
    rows: list
    caption: str = ""


def with_interval(measure, value, ends):
    """ "99.97 % [99.95, 99.99]". """
    text = number(measure, value)
    decimals = len(text.partition(".")[2])
    text += " %" if measure.percent else ""
    if ends is not None:
        low, high = (f"{measure.scale * float(end):.{decimals}f}" for end in ends)
        text += f" [{low}, {high}]"
    return text


def statistic_cell(model, measure, strata):
    """The interquartile mean of the values, a list for each stratum."""
    value = float(interquartile_mean([one for values in strata for one in values]))
    ends = interval(strata)
    low, high = (None, None) if ends is None else map(float, ends)
    return Cell(with_interval(measure, value, ends), measure.key, value, low, high, model)


def first_times(runs, kind, level):
    """Of each run the time at which it first reached the level; without those that never did."""
    reached = [next((line[kind.time.key] for line in run.epochs if line[kind.learning.key] >= level), None)
               for run in runs]
    return [time for time in reached if time is not None]


def learning_cell(model, runs, kind, level):
    """When the runs that reached the level did so."""
    times = first_times(runs, kind, level)
    if not times:
        return Cell("never", kind.time.key, model=model)
    cell = statistic_cell(model, kind.time, [times])
    if len(times) == len(runs):
        return cell
    return replace(cell, text=f"{cell.text} ({len(times)} of {len(runs)})")


def set_table(runs):
    """Results of the finished runs of a set, with the task's baselines."""
    kind, level = runs.kind, learnt_at(runs)
    costs = (*kind.costs, kind.seconds)
    level_text = f"{level:.0%}" if kind.learning.percent else plain(level)
    columns = ["model", "runs", "parameters", *(measure.label for measure in kind.scores),
               f"{kind.time.label} to {level_text}", *(measure.label for measure in costs)]
    rows = []
    for model, finished in runs.models.items():
        cells = [Cell(seed_count(runs, model), "runs", len(finished), model=model)]
        if finished:
            cells += [Cell(str(finished[0].parameters), "parameters", finished[0].parameters, model=model),
                      *(statistic_cell(model, measure, [metric(finished, measure)]) for measure in kind.scores),
                      learning_cell(model, finished, kind, level),
                      *(statistic_cell(model, measure, [metric(finished, measure)]) for measure in costs)]
        rows.append(Row(runs.model_name(model), model, cells))
    for baseline, value in runs.baselines.items():
        score = kind.scores[0]
        rows.append(Row(baseline_label(baseline, kind), None,
                        [Cell(""), Cell(""), Cell(with_interval(score, value, None), baseline, value)]))
    return Table(columns, rows)


def together_table(task):
    """The score over all sets in which every model has several runs; None if there are no two of them."""
    sets = [runs for runs in task.sets if runs.finished and min(map(len, runs.finished.values())) > 1]
    if len(sets) < 2 or len({runs.kind.scores[-1].key for runs in sets}) > 1:
        return None
    measure = sets[0].kind.scores[0]
    models = [model for model in sets[0].finished if all(model in runs.finished for runs in sets)]
    rows = [Row(sets[0].model_name(model), model,
                [statistic_cell(model, measure, [metric(runs.finished[model], measure) for runs in sets])])
            for model in models]
    return Table(["model", measure.label], rows, ", ".join(runs.name for runs in sets)) if rows else None


def score_of(runs, model):
    return float(interquartile_mean(metric(runs.finished[model], runs.kind.scores[0])))


def without_variations(sets):
    """Those whose names do not begin with that of another one and `_`."""
    names = [runs.name for runs in sets]
    return [runs for runs in sets if not any(runs.name.startswith(f"{name}_") for name in names)]


def at_a_glance(tasks):
    """The sets that are compared at a glance: with an STPN and a model of fixed synapses, and of the
    STPN several runs unless no set has that. Without variations, such as `recall_longest` beside `recall`."""
    sets = [runs for task in tasks for runs in without_variations(task.sets)
            if "stpn" in runs.finished and not FIXED.isdisjoint(runs.finished)]
    return [runs for runs in sets if len(runs.finished["stpn"]) > 1] or sets


def glance_table(tasks):
    """Of each set: the STPN, and the best model whose synapses are fixed."""
    columns = ["task", "measure", "STPN", "best with fixed synapses", "energy of the STPN", "of the other"]
    rows = []
    for runs in at_a_glance(tasks):
        score, energy = runs.kind.scores[0], runs.kind.costs[0]
        best = max(FIXED.intersection(runs.finished), key=lambda model: (score_of(runs, model), model))
        cells = [statistic_cell(model, measure, [metric(runs.finished[model], measure)])
                 for measure in (score, energy) for model in ("stpn", best)]
        cells[1] = replace(cells[1], text=f"{runs.model_name(best)}: {cells[1].text}")
        rows.append(Row(runs.title, runs.name, [Cell(score.label), *cells]))
    return Table(columns, rows)
