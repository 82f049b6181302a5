"""Table and figures of what `stpn reproduce` ran, from the small files of its runs.

python -m stpn.reproduction FOLDER [-o OUT] [--keep RESULTS]

FOLDER has <set>/<model>/seed<N>/summary.json and metrics.jsonl; runs that have not ended are passed
over. Into OUT, which is FOLDER if not given, go

    table.md          each set: mean and deviation over seeds, beside the task's yardsticks
    <set>.png         accuracy and energy over the epochs
    <set>_energy.png  energy against test accuracy, a mark a run
    <word>.png        test accuracy over sets whose names are one word and a number, as pairs4, pairs8
"""

import argparse
import math
import re
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from stpn.learning_curves import COLOURS, percent_axis
from stpn.runs import NAMES, RunError, of_one_task, read_run, yardstick_label

LEARNT = 0.99  # validation accuracy
MARKERS = "osD^vPX*<>hpd"  # 13 and 6 colours: the first pair comes again after 78
LINES = ["-", "--", ":"]
PANEL = 7  # models of which the lines can still be followed


def position(model):
    """Models in the order of NAMES, and those that are not in it behind, by the alphabet."""
    known = list(NAMES)
    return (known.index(model) if model in known else len(known), model)


def by_number(name):
    """Orders pairs4 before pairs16."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def find_runs(folder):
    """{set: {model: runs by seed}}, in the order in which they are shown."""
    sets = defaultdict(lambda: defaultdict(list))
    for summary in sorted(Path(folder).glob("*/*/seed*/summary.json"), key=lambda p: by_number(str(p))):
        run = summary.parent
        sets[run.parent.parent.name][run.parent.name].append(read_run(run))
    if not sets:
        raise RunError(f"{folder}: no run in it has ended (<set>/<model>/seed<N>/summary.json)")
    of_one_task([run for models in sets.values() for runs in models.values() for run in runs])
    return {name: {model: sets[name][model] for model in sorted(sets[name], key=position)}
            for name in sorted(sets, key=by_number)}


def keep(folder, results):
    """Copies what tables and figures need of each finished run."""
    for summary in sorted(Path(folder).glob("*/*/seed*/summary.json")):
        to = Path(results) / summary.parent.relative_to(folder)
        to.mkdir(parents=True, exist_ok=True)
        for name in ("summary.json", "metrics.jsonl"):
            shutil.copyfile(summary.parent / name, to / name)


def plain(value):
    """Three digits or more, and never an exponent for what people read: 5.02, 1610."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, 2 - size)}f}"


def with_deviation(values, text=plain):
    """Mean and, of more than one, sample standard deviation: "5.02 ± 0.28"."""
    if len(values) < 2:
        return text(values[0])
    mean, deviation = text(statistics.mean(values)), statistics.stdev(values)
    decimals = len(mean.partition(".")[2])
    return f"{mean} ± {deviation:.{decimals}f}"


def epochs_to_learn(runs):
    reached = [next((line["epoch"] for line in run.epochs
                     if line["validation_accuracy"] >= LEARNT), None) for run in runs]
    there = [epoch for epoch in reached if epoch is not None]
    if not there:
        return "never"
    some = "" if len(there) == len(runs) else f" ({len(there)} of {len(runs)})"
    return with_deviation(there, "{:.0f}".format) + some


def yardsticks_of(models):
    return next(iter(models.values()))[0].yardsticks


def table(name, models):
    """One set, as a table in Markdown."""
    rows = [["model", "seeds", "parameters", "test accuracy", f"epochs to {LEARNT:.0%}",
             "energy a step", "energy a sequence", "seconds"]]
    for runs in models.values():
        rows.append([
            runs[0].name, str(len(runs)), str(runs[0].parameters),
            with_deviation([100 * run.metrics["test_accuracy"] for run in runs],
                           "{:.2f}".format) + " %",
            epochs_to_learn(runs),
            with_deviation([run.metrics["energy_per_step"] for run in runs]),
            with_deviation([run.metrics["energy_per_sequence"] for run in runs]),
            f"{statistics.mean(run.seconds for run in runs):.0f}",
        ])
    for yardstick, value in yardsticks_of(models).items():
        rows.append([yardstick_label(yardstick), "", "", f"{100 * value:.2f} %", "", "", "", ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in rows]
    return f"## {name}\n\n" + "\n".join(lines) + "\n"


def styles(sets):
    """Colour, marker and line of each model, the same in all figures."""
    models = sorted({model for models in sets.values() for model in models}, key=position)
    return {model: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)],
                    "linestyle": LINES[i // len(COLOURS) % len(LINES)]}
            for i, model in enumerate(models)}


def mean_curve(axes, runs, metric, style):
    """The mean over the runs, and a band of a standard deviation to both sides."""
    curves = list(zip(*(run.curve(metric) for run in runs)))  # as long as the shortest
    epochs = runs[0].curve("epoch")[:len(curves)]
    mean = [statistics.mean(values) for values in curves]
    axes.plot(epochs, mean, label=runs[0].name, linewidth=1.6, markersize=5, **style,
              markevery=max(1, len(epochs) // 8))
    if len(runs) > 1:
        deviation = [statistics.stdev(values) for values in curves]
        axes.fill_between(epochs, [m - d for m, d in zip(mean, deviation)],
                          [m + d for m, d in zip(mean, deviation)],
                          color=style["color"], alpha=0.18, linewidth=0)


def yardstick_style(number, name):
    """Grey, and behind the data."""
    return {"color": "0.6", "linewidth": 1, "linestyle": LINES[1 + number % 2], "zorder": 0,
            "label": yardstick_label(name)}


def bare(axes):
    axes.spines[["top", "right"]].set_visible(False)


def save(figure, path):
    figure.savefig(path, dpi=150)
    plt.close(figure)


def energy_axis(axis):
    """Energies of models lie decades apart; the numbers stay plain."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.5)))
    axis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.5)))


def curves_figure(name, models, style, path):
    """Columns of at most PANEL models: accuracy above, energy below, the legend under both."""
    names = list(models)
    columns = -(-len(names) // PANEL)
    figure, axes = plt.subplots(2, columns, figsize=(1.5 + 5.2 * columns, 7.4), sharex=True,
                                sharey="row", squeeze=False, height_ratios=[3, 2],
                                layout="constrained")
    seeds = max(len(runs) for runs in models.values())
    over = f"mean and deviation over {seeds} seeds" if seeds > 1 else "one seed"
    figure.suptitle(f"{name}: {over}", x=0.02, ha="left", weight="bold")
    for column, (accuracy, energy) in enumerate(axes.T):
        for model in names[column * PANEL:(column + 1) * PANEL]:
            mean_curve(accuracy, models[model], "validation_accuracy", style[model])
            mean_curve(energy, models[model], "energy_per_step", style[model])
        percent_axis(accuracy.yaxis)
        for i, (yardstick, level) in enumerate(yardsticks_of(models).items()):
            accuracy.axhline(level, **yardstick_style(i, yardstick))
        energy_axis(energy.yaxis)
        energy.set_xlabel("Epoch")
        energy.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        energy.legend(*accuracy.get_legend_handles_labels(), loc="upper center",
                      bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
        for each in (accuracy, energy):
            each.margins(x=0.01)
            bare(each)
    axes[0, 0].set_ylabel("Validation accuracy")
    axes[1, 0].set_ylabel("Energy a step (V² × conductance)")
    save(figure, path)


def energy_figure(name, models, style, path):
    """Down and to the right is better."""
    figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    figure.suptitle(f"{name}: energy against accuracy, a mark a run", x=0.02, ha="left",
                    weight="bold")
    for model, runs in models.items():
        axes.scatter([run.metrics["test_accuracy"] for run in runs],
                     [run.metrics["energy_per_sequence"] for run in runs], s=60,
                     edgecolors="white", linewidths=0.6, label=runs[0].name,
                     color=style[model]["color"], marker=style[model]["marker"])
    percent_axis(axes.xaxis)
    axes.set_xlabel("Test accuracy")
    axes.set_ylabel("Energy a sequence (V² × conductance)")
    energy_axis(axes.yaxis)
    for i, (yardstick, level) in enumerate(yardsticks_of(models).items()):
        axes.axvline(level, **yardstick_style(i, yardstick))
    bare(axes)
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def ladders(sets):
    """{word: [(number, models)]} of sets named by one word and different numbers."""
    found = defaultdict(list)
    for name, models in sets.items():
        if match := re.fullmatch(r"(.*\D)(\d+)", name):
            found[match[1]].append((int(match[2]), models))
    return {word: steps for word, steps in found.items() if len(steps) > 1}


def ladder_figure(word, steps, style, path):
    """Test accuracy of the models that are in more than one of the sets, over their numbers."""
    figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    figure.suptitle(f"Test accuracy over {word}", x=0.02, ha="left", weight="bold")
    points = defaultdict(list)
    for number, models in steps:
        for model, runs in models.items():
            points[model].append((number, runs))
    for model in sorted(points, key=position):
        if len(points[model]) < 2:
            continue
        numbers = [number for number, _ in points[model]]
        values = [[run.metrics["test_accuracy"] for run in runs] for _, runs in points[model]]
        axes.errorbar(numbers, [statistics.mean(value) for value in values],
                      [statistics.stdev(value) if len(value) > 1 else 0 for value in values],
                      label=points[model][0][1][0].name, linewidth=1.6, markersize=6, capsize=3,
                      **style[model])
    numbers = [number for number, _ in steps]
    for i, yardstick in enumerate(yardsticks_of(steps[0][1])):
        axes.plot(numbers, [yardsticks_of(models)[yardstick] for _, models in steps],
                  **yardstick_style(i, yardstick))
    percent_axis(axes.yaxis)
    axes.set_xticks(numbers)
    axes.set_xlabel(word.capitalize())
    axes.set_ylabel("Test accuracy")
    bare(axes)
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def report(folder, out):
    """Writes table and figures; returns the table and the paths of the figures."""
    sets = find_runs(folder)
    style = styles(sets)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(table(name, models) for name, models in sets.items())
    (out / "table.md").write_text(text)
    figures = []
    for name, models in sets.items():
        figures += [out / f"{name}.png", out / f"{name}_energy.png"]
        curves_figure(name, models, style, figures[-2])
        energy_figure(name, models, style, figures[-1])
    for word, steps in ladders(sets).items():
        figures.append(out / f"{word}.png")
        ladder_figure(word, steps, style, figures[-1])
    return text, figures


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.reproduction",
                                     description="Table and figures of what `stpn reproduce` ran.")
    parser.add_argument("folder", metavar="FOLDER", help="with <set>/<model>/seed<N> in it")
    parser.add_argument("-o", "--output", metavar="OUT", help="folder to write to; FOLDER if not given")
    parser.add_argument("--keep", metavar="RESULTS",
                        help="copy summary.json and metrics.jsonl of every finished run there")
    given = parser.parse_args(arguments)
    try:
        text, figures = report(given.folder, given.output or given.folder)
        if given.keep:
            keep(given.folder, given.keep)
    except (RunError, OSError) as error:
        print(f"reproduction: {error}", file=sys.stderr)
        return 2
    print(text)
    print("Figures: " + ", ".join(str(figure) for figure in figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
