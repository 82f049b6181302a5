"""How well models do at other difficulties than the one they were trained at: tables and a figure of the
metrics of a sweep, such as test_accuracy_interval_10; of a task with parts also of those like
test_recall_accuracy_length_64."""

import re
import statistics
from collections import defaultdict

from stpn.figures import bare, name_ends, number_axis, plt, save, set_title
from stpn.runs.kinds import Measure
from stpn.learning_curves import draw_baselines, score_axis
from stpn.report.statistics import interquartile_mean, interval

NAME = re.compile(r"test_((?:[a-z]+_)?accuracy|true_positive_rate|false_positive_rate)_([a-z]+)_(\d+)")
ACCURACY = Measure("accuracy", "test accuracy", decimals=1, scale=100)
RATES = Measure("true_positive_rate", "true and false positives", scale=100)
FALSE_POSITIVES = "false_positive_rate"
FEW = 6  # difficulties: each has its tick
TICKS = [1, 2, 3, 4, 6, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]


def sweep(run):
    """(name of the difficulty, {difficulty: {measure: value}}) of a run; (None, {}) without a sweep."""
    name, values, measures = None, defaultdict(dict), set()
    for key, value in run.metrics.items():
        if (match := NAME.fullmatch(key)) and value is not None:
            name = match[2]
            values[int(match[3])][match[1]] = value
            measures.add(match[1])
    return name, {difficulty: values[difficulty] for difficulty in sorted(values)
                  if measures <= values[difficulty].keys()}


def sweeps(runs):
    """(name of the difficulty, {model: [the sweep of each finished run]}) of a set."""
    names, found = set(), {}
    for model, finished in runs.finished.items():
        results = [sweep(run) for run in finished]
        if all(values for _, values in results):
            names |= {name for name, _ in results}
            found[model] = [values for _, values in results]
    return (names.pop(), found) if len(names) == 1 else (None, {})


def common(results):
    """The difficulties that all of the sweeps have, in ascending order."""
    return sorted(set.intersection(*(set(values) for values in results)))


def accuracies(found):
    """The accuracies that all sweeps have: that of the task first, then those of its parts."""
    known = set.intersection(*(set(measures) for results in found.values() for values in results
                               for measures in values.values()))
    parts = sorted(key for key in known if key.endswith("_accuracy"))
    return [ACCURACY, *(Measure(key, f"test {key.replace('_', ' ')}", decimals=1, scale=100)
                        for key in parts)]


def cell(values):
    """The interquartile mean and, of several values, its 95 % interval, in percent: "95.2 [94.8, 95.5]"."""
    text = f"{100 * interquartile_mean(values):.1f}"
    ends = interval([values])
    return text if ends is None else f"{text} [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def accuracy_table(runs, found, shown, measure):
    rows = [["model", *map(str, shown)]]
    rows += [[runs.model_name(model),
              *(cell([values[difficulty][measure.key] for values in results]) for difficulty in shown)]
             for model, results in found.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    return "".join("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |\n"
                   for row in rows)


def table(runs):
    """The accuracies at the difficulties that all models were tested at, as Markdown; "" if there are
    none."""
    name, found = sweeps(runs)
    if not found:
        return ""
    shown = common([values for results in found.values() for values in results])
    return "\n".join(f"{measure.axis_label} in percent, at {name}\n\n"
                     + accuracy_table(runs, found, shown, measure) for measure in accuracies(found))


def curve(axes, results, measure, style):
    """Draws the mean of a measure over the difficulties, with a band of one standard deviation. Returns
    the end of the line."""
    shown = common(results)
    values = [[each[difficulty][measure] for each in results] for difficulty in shown]
    mean = [statistics.mean(each) for each in values]
    axes.plot(shown, mean, linewidth=1.6, markersize=5, clip_on=False, **style)
    if len(results) > 1:
        std = [statistics.stdev(each) for each in values]
        axes.fill_between(shown, [m - s for m, s in zip(mean, std)],
                          [m + s for m, s in zip(mean, std)],
                          color=style["color"], alpha=0.15, linewidth=0)
    return shown[-1], mean[-1]


def panels(found):
    """The measures of the panels: the parts of a task that has them, else its accuracy; and the rates of
    a yes-or-no task."""
    measures = accuracies(found)
    has_rates = any(FALSE_POSITIVES in next(iter(results[0].values())) for results in found.values())
    return (measures[1:] or measures) + ([RATES] if has_rates else [])


def figure(runs, styles, path):
    """Accuracies over difficulties, a panel each, and the rates of true and, dotted, of false positives.
    Returns whether the set has sweeps; without, nothing is written."""
    name, found = sweeps(runs)
    if not found:
        return False
    measures = panels(found)
    picture, grid = plt.subplots(len(measures), 1, figsize=(7.6, 0.9 + 3.2 * len(measures)), sharex=True,
                                 squeeze=False, layout="constrained",
                                 height_ratios=[2 if measure is RATES else 3 for measure in measures])
    ends = defaultdict(list)
    for axes, measure in zip(grid[:, 0], measures):
        for model, results in found.items():
            style = styles[model]
            end = curve(axes, results, measure.key, style)
            if measure is RATES:
                curve(axes, results, FALSE_POSITIVES, {"color": style["color"], "linestyle": ":"})
            else:
                ends[axes].append((runs.model_name(model), *end, style["color"]))
        score_axis(axes.yaxis, measure, runs.baselines.values() if measure is ACCURACY else ())
        axes.set_ylabel(measure.axis_label)
        bare(axes)
    last = grid[-1, 0]
    shown = sorted({difficulty for results in found.values() for difficulty in common(results)})
    number_axis(last.xaxis, shown if len(shown) <= FEW else TICKS, upto=shown[-1])
    last.set_xlabel(f"Test {name}")
    if measures[0] is ACCURACY:  # baselines are of all targets, not of parts
        ends[grid[0, 0]] += draw_baselines(grid[0, 0], runs.baselines, runs.kind)
    several = any(len(results) > 1 for results in found.values())
    set_title(picture, runs.title, f"At other {name}s than in training"
              + (", mean and standard deviation" if several else "")
              + ("; dotted: false positives" if RATES in measures else ""))
    for axes, of_panel in ends.items():
        name_ends(axes, of_panel)
    save(picture, path)
    return True
