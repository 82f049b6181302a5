"""How well models do at other difficulties than the one they were trained at: a table and a figure of the
metrics of a sweep, such as test_accuracy_interval_10 (yes-or-no tasks)."""

import re
import statistics
from collections import defaultdict

from stpn.figures import bare, name_ends, number_axis, plt, save, set_title
from stpn.kinds import Measure
from stpn.learning_curves import draw_baselines, score_axis

NAME = re.compile(r"test_(accuracy|true_positive_rate|false_positive_rate)_([a-z]+)_(\d+)")
ACCURACY = Measure("accuracy", "test accuracy", decimals=1, scale=100)
RATES = Measure("true_positive_rate", "true and false positives", scale=100)


def sweep(run):
    """(name of the difficulty, {difficulty: {measure: value}}) of a run; (None, {}) without a sweep."""
    name, values = None, defaultdict(dict)
    for key, value in run.metrics.items():
        if (match := NAME.fullmatch(key)) and value is not None:
            name = match[2]
            values[int(match[3])][match[1]] = value
    return name, {difficulty: values[difficulty] for difficulty in sorted(values)
                  if {"accuracy", "true_positive_rate", "false_positive_rate"} <= values[difficulty].keys()}


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


def cell(values):
    """Mean and, of several values, sample standard deviation, in percent: "95.2 ± 0.3"."""
    text = f"{100 * statistics.mean(values):.1f}"
    return text + (f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else "")


def table(runs):
    """The accuracies at the difficulties that all models were tested at, as Markdown; "" if there are
    none."""
    name, found = sweeps(runs)
    if not found:
        return ""
    shown = common([values for results in found.values() for values in results])
    rows = [["model", *map(str, shown)]]
    rows += [[runs.model_name(model),
              *(cell([values[difficulty]["accuracy"] for values in results]) for difficulty in shown)]
             for model, results in found.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
             for row in rows]
    return f"Test accuracy in percent, at {name}\n\n" + "\n".join(lines) + "\n"


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


def figure(runs, styles, path):
    """Accuracy over difficulties and, below, the rates of true and, dotted, of false positives. Returns
    whether the set has sweeps; without, nothing is written."""
    name, found = sweeps(runs)
    if not found:
        return False
    picture, (accuracy, rates) = plt.subplots(2, 1, figsize=(7.6, 7.2), sharex=True,
                                              height_ratios=[3, 2], layout="constrained")
    ends = []
    for model, results in found.items():
        style = styles[model]
        ends.append((runs.model_name(model), *curve(accuracy, results, "accuracy", style),
                     style["color"]))
        curve(rates, results, "true_positive_rate", style)
        curve(rates, results, "false_positive_rate",
              {"color": style["color"], "linestyle": ":"})
    for axes, measure in ((accuracy, ACCURACY), (rates, RATES)):
        score_axis(axes.yaxis, measure, ())
        axes.set_ylabel(measure.axis_label)
        bare(axes)
    number_axis(rates.xaxis, [1, 2, 3, 4, 6, 10, 15, 20, 30, 50, 100, 200, 500, 1000],
                upto=max(x for _, x, _, _ in ends))
    rates.set_xlabel(f"Test {name}")
    ends += draw_baselines(accuracy, runs.baselines, runs.kind)
    seeds = max(len(results) for results in found.values())
    set_title(picture, runs.title,
              f"At other {name}s than in training" + (f"; mean and standard deviation over up to {seeds} seeds"
                                                     if seeds > 1 else "; one seed")
              + ". Dotted: false positives")
    name_ends(accuracy, ends)
    save(picture, path)
    return True
