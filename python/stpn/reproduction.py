"""Table and figures of runs of one task, several models and several seeds, from their summary.json
and metrics.jsonl.

python -m stpn.reproduction FOLDER... [-o OUT] [--keep RESULTS]

A FOLDER is that of `stpn reproduce` or any folder with runs in it, such as runs/maze, where `stpn
train` puts runs of different seeds. Runs are told apart by the ends of their paths,
<set>/<model>/<seed>. Writes to OUT (default: the first FOLDER):

    table.md          for each set, mean and standard deviation over seeds, and the task's baselines
    <set>.png         accuracy and energy over epochs; for an RL task, reward over training episodes
    <set>_energy.png  energy over test accuracy or reward, one marker for each run
    <set>_generalisation.png
                      accuracy at other difficulties than in training, for a task that has them
    <word>.png        test accuracy, or share of the oracle's margin, over the sets whose names are a
                      word and a number, such as pairs4 and pairs8

A run that has not finished, or that has diverged, is in no mean: table.md lists it, a warning names
it, and <set>.png shows its curve as far as it goes.
"""

import argparse
import math
import re
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from stpn import generalisation
from stpn.figures import bare, matplotlib, name_ends, number_axis, plt, save, set_title
from stpn.runs.kinds import number, plain
from stpn.learning_curves import (BASELINE_COLOUR, HEIGHTS, baseline_style, baseline_text,
                                  draw_baselines, score_axis, time_axis)
from stpn.runs.curves import common_curves
from stpn.runs.files import whole, write_text
from stpn.runs.sets import find_folders, find_sets
from stpn.runs import OTHER_TASK, RunError, baseline_label, printable
from stpn.runs.styles import position, styles

PANEL = 7  # the most models in a panel, for legibility


def keep(folders, results):
    """Copies the files that tables and figures need of each run, as far as it has them."""
    for place, folder in find_folders(folders).items():
        to = Path(results, *place)
        for name in ("summary.json", "metrics.jsonl", "config.toml", "diverged"):
            if (folder / name).is_file():
                to.mkdir(parents=True, exist_ok=True)
                with whole(to / name) as partial:
                    shutil.copyfile(folder / name, partial)


def with_std(values, measure):
    """Mean and, if there are several values, sample standard deviation: "5.02 ± 0.28"."""
    text = number(measure, statistics.mean(values))
    if len(values) > 1:
        decimals = len(text.partition(".")[2])
        text += f" ± {measure.scale * statistics.stdev(values):.{decimals}f}"
    return text + (" %" if measure.percent else "")


def metric(runs, measure):
    return [run.metrics[measure.key] for run in runs]


def learnt_at(runs):
    """The value of `kind.learning` at which a model counts as having learnt the task."""
    if runs.kind.learnt is not None:
        return runs.kind.learnt
    kind = runs.kind
    best = max(statistics.mean(metric(each, kind.learning)) for each in runs.finished.values())
    is_score = kind.learning.key == kind.scores[0].key  # otherwise a share, which random play has 0 of
    start = runs.baselines.get(f"random_{kind.noun}", 0) if is_score else 0
    half = max(0.01, (best - start) / 2)  # what acts at random must not reach it
    return round(start + half, 1 - math.floor(math.log10(half)))


def time_to_learn(runs, kind, level):
    reached = [next((line[kind.time.key] for line in run.epochs
                     if line[kind.learning.key] >= level), None) for run in runs]
    there = [time for time in reached if time is not None]
    if not there:
        return "never"
    some = "" if len(there) == len(runs) else f" ({len(there)} of {len(runs)})"
    return with_std(there, kind.time) + some


def seed_count(runs, model):
    """The number of runs in the means: "3", or "2 of 3" if there are others."""
    count = len(runs.models[model])
    stopped = len(runs.stopped(model))
    return f"{count} of {count + stopped}" if stopped else str(count)


def model_row(runs, model, level):
    kind, finished = runs.kind, runs.models[model]
    return [
        runs.model_name(model), seed_count(runs, model), str(finished[0].parameters),
        *(with_std(metric(finished, measure), measure) for measure in kind.scores),
        time_to_learn(finished, kind, level),
        *(with_std(metric(finished, measure), measure) for measure in kind.costs),
        number(kind.seconds, statistics.mean(metric(finished, kind.seconds))),
    ]


def means(runs):
    """The Markdown table of the finished runs of a set, with the baselines."""
    kind, level = runs.kind, learnt_at(runs)
    level_text = f"{level:.0%}" if kind.learning.percent else plain(level)
    rows = [["model", "seeds", "parameters", *(measure.label for measure in kind.scores),
             f"{kind.time.label} to {level_text}", *(measure.label for measure in kind.costs),
             kind.seconds.label]]
    for model, finished in runs.models.items():
        rows.append(model_row(runs, model, level) if finished else
                    [runs.model_name(model), seed_count(runs, model)])
    for baseline, value in runs.baselines.items():
        rows.append([baseline_label(baseline, kind), "", "", with_std([value], kind.scores[0])])
    rows = [row + [""] * (len(rows[0]) - len(row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in rows]
    return "\n".join(lines) + "\n"


def other_lines(runs):
    """A line for each run that is in no mean: what it is, why, and the score that it had reached."""
    lines = []
    for (model, seed), run in runs.others.items():
        line = f"{model}/{seed}: {run.how_it_ended()}"
        if run.epochs and run.state != OTHER_TASK:
            score = run.kind.curves[0]
            line += f"; {score.label} {with_std([run.epochs[-1][score.key]], score)}"
        lines.append(line)
    return lines


def section(runs):
    """The part of table.md about a set."""
    parts = [f"## {runs.name}\n", means(runs) if runs.finished else "No run has finished.\n"]
    if at_difficulties := generalisation.table(runs):
        parts.append(at_difficulties)
    if runs.others:
        parts += ["Not in the means:\n", "".join(f"- {line}\n" for line in other_lines(runs))]
    return "\n".join(parts)


def mean_curve(axes, runs, time, measure, style):
    """Draws the mean over the runs with a band of one standard deviation on each side. Returns the
    end of the line; None if the runs have no epoch in common."""
    times, of_runs = common_curves(runs, time, measure)
    if not times:
        return None
    curves = list(zip(*of_runs))
    mean = [statistics.mean(values) for values in curves]
    axes.plot(times, mean, linewidth=1.6, markersize=5, clip_on=False, **style,
              markevery=max(1, len(times) // 8))
    if len(runs) > 1:
        std = [statistics.stdev(values) for values in curves]
        axes.fill_between(times, [m - s for m, s in zip(mean, std)],
                          [m + s for m, s in zip(mean, std)],
                          color=style["color"], alpha=0.15, linewidth=0)
    return times[-1], mean[-1]


def stopped_curve(axes, run, time, measure, style):
    """Draws a run that is in no mean as a thin line with a cross at its end. Returns the end."""
    times, values = run.curve(time.key), run.curve(measure.key)
    axes.plot(times, values, color=style["color"], linestyle=style["linestyle"], linewidth=0.8)
    axes.plot(times[-1], values[-1], "x", color=style["color"], markersize=6, clip_on=False)
    return times[-1], values[-1]


def draw_model(axes, runs, model, measure, style, suffix):
    """Draws the curves of a model. Returns (name, x, y, colour) for the end of its line; a list,
    which is empty if none of its runs has completed an epoch."""
    finished = runs.models[model]
    stopped = [run for run in runs.stopped(model) if run.epochs]
    ends = [stopped_curve(axes, run, runs.kind.time, measure, style) for run in stopped]
    end, name = finished and mean_curve(axes, finished, runs.kind.time, measure, style), suffix
    if not end and stopped:
        end, name = max(ends), f" ({stopped[ends.index(max(ends))].state})"
    if not end:
        return []
    return [(runs.model_name(model) + name, *end, style["color"])]


class PlainLogFormatter(matplotlib.ticker.LogFormatter):
    """Writes 0.6 where the base class writes 6e-01, and 200k and 10M for large numbers."""

    def __call__(self, x, pos=None):
        if not super().__call__(x, pos):
            return ""
        return f"{x:.10g}" if x < 10_000 else matplotlib.ticker.EngFormatter(sep="")(x)


def energy_axis(axis, energies):
    """A logarithmic axis, because energies differ by decades, with numbers without exponents. It is
    linear if an energy is 0."""
    if min(energies) <= 0:
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(PlainLogFormatter(minor_thresholds=(2, 0.5)))
    axis.set_minor_formatter(PlainLogFormatter(minor_thresholds=(2, 0.5)))


def seeds_of(models):
    """The part of a title about seeds, and a suffix for the name of each model."""
    counts = {model: len(runs) for model, runs in models.items()}
    if len(set(counts.values())) > 1:
        return ("mean and standard deviation over seeds (how many)",
                {model: f" ({count})" for model, count in counts.items()})
    count = max(counts.values(), default=0)
    return (f"mean and standard deviation over {count} seeds" if count > 1 else "one seed",
            dict.fromkeys(counts, ""))


def subtitle(runs):
    text = seeds_of(runs.finished)[0] if runs.finished else "no run has finished"
    if any(run.epochs and run.state != OTHER_TASK for run in runs.others.values()):
        text += "; thin lines: unfinished or diverged runs, not in the mean"
    return text[0].upper() + text[1:]


def curves_figure(runs, style, path):
    """Columns of at most PANEL models: the score at the top, energy (if any) below it."""
    kind = runs.kind
    names = list(runs.models)
    columns = -(-len(names) // PANEL)
    per_column = -(-len(names) // columns)
    heights = HEIGHTS[:len(kind.curves)]
    figure, axes = plt.subplots(len(heights), columns,
                                figsize=(1.5 + 5.2 * columns, 1.0 + 1.2 * sum(heights)), sharex=True,
                                sharey="row", squeeze=False, height_ratios=heights,
                                layout="constrained")
    suffix = seeds_of(runs.finished)[1]
    ends = defaultdict(list)
    for panels, measure in zip(axes, kind.curves):
        panels[0].set_ylabel(measure.axis_label)
        for column, panel in enumerate(panels):
            for model in names[column * per_column:(column + 1) * per_column]:
                ends[panel] += draw_model(panel, runs, model, measure, style[model],
                                          suffix.get(model, ""))
            panel.margins(x=0.01)
            bare(panel)
    score_axis(axes[0, 0].yaxis, kind.curves[0], runs.baselines.values())
    for energy, measure in zip(axes[1:, 0], kind.curves[1:]):
        energy_axis(energy.yaxis, [value for run in runs.drawn() for value in run.curve(measure.key)])
    for score, last in zip(axes[0], axes[-1]):
        time_axis(last.xaxis, kind)
        ends[score] += draw_baselines(score, runs.baselines, kind)
    set_title(figure, runs.title, subtitle(runs))
    for panel in axes.flat:
        name_ends(panel, ends[panel])
    save(figure, path)


def energy_figure(runs, style, path):
    """Energy over score: lower and further right is better."""
    kind = runs.kind
    figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    for model, finished in runs.finished.items():
        axes.scatter(metric(finished, kind.scores[0]), metric(finished, kind.energy), s=60,
                     edgecolors="white", linewidths=0.6, label=runs.model_name(model),
                     color=style[model]["color"], marker=style[model]["marker"], clip_on=False,
                     zorder=3)
    score_axis(axes.xaxis, kind.scores[0], runs.baselines.values())
    axes.set_xlabel(kind.scores[0].axis_label)
    axes.set_ylabel(kind.energy.axis_label)
    energy_axis(axes.yaxis, [value for finished in runs.finished.values()
                             for value in metric(finished, kind.energy)])
    for i, (name, level) in enumerate(runs.baselines.items()):
        axes.axvline(level, label=baseline_text(name, level, kind, axes.xaxis), **baseline_style(i))
    bare(axes)
    set_title(figure, runs.title, f"Energy over {kind.noun}, one marker for each finished run")
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def ladders(sets):
    """{word: [(number, set)]} of the sets of one task whose names are the same word with different
    numbers."""
    found = defaultdict(list)
    for runs in sets:
        match = re.fullmatch(r"(.*\D)(\d+)", runs.name)
        if match and runs.finished:
            found[match[1]].append((int(match[2]), runs))
    return {word: steps for word, steps in found.items()
            if len(steps) > 1 and len({runs.task for _, runs in steps}) == 1}


def ladder_curve(axes, points, score, style):
    """Draws the score over [(number, runs)], with error bars where there are several runs. Returns
    the end of the line."""
    values = [metric(runs, score) for _, runs in points]
    numbers, mean = [step for step, _ in points], [statistics.mean(value) for value in values]
    axes.plot(numbers, mean, linewidth=1.6, markersize=6, clip_on=False, **style)
    several = [i for i, value in enumerate(values) if len(value) > 1]
    axes.errorbar([numbers[i] for i in several], [mean[i] for i in several],
                  [statistics.stdev(values[i]) for i in several], fmt="none", capsize=3,
                  ecolor=style["color"])
    return numbers[-1], mean[-1]


def ladder_figure(word, steps, style, path):
    """The score over the numbers of the sets, for the models that are in more than one of them."""
    sets = [runs for _, runs in steps]
    known = [{measure.key for measure in runs.kind.scores} for runs in sets]
    score = sets[0].kind.of(set.intersection(*known)).scores[-1]
    figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    points, names, ends = defaultdict(list), {}, []
    for step, runs in steps:
        for model, finished in runs.finished.items():
            points[model].append((step, finished))
            names[model] = runs.model_name(model)
    for model in sorted(points, key=position):
        if len(points[model]) > 1:
            end = ladder_curve(axes, points[model], score, style[model])
            ends.append((names[model], *end, style[model]["color"]))
    if score.key == sets[0].kind.scores[0].key:  # a share is relative to the baselines already
        for i, name in enumerate(sets[0].baselines):
            line = [(step, runs.baselines[name]) for step, runs in steps if name in runs.baselines]
            axes.plot(*zip(*line), **baseline_style(i))
            ends.append((baseline_label(name, sets[0].kind), *line[-1], BASELINE_COLOUR))
    score_axis(axes.yaxis, score, [level for runs in sets for level in runs.baselines.values()])
    number_axis(axes.xaxis, [step for step, _ in steps])
    words = word.replace("_", " ").strip()
    axes.set_xlabel(words.capitalize())
    axes.set_ylabel(score.axis_label)
    bare(axes)
    set_title(figure, sets[0].task_title, f"{score.axis_label} over {words}, of finished runs")
    name_ends(axes, ends)
    save(figure, path)


def report(folders, out):
    """Writes table and figures. Returns the table, the paths of the figures and the warnings."""
    sets = find_sets(folders)
    if not any(runs.drawn() for runs in sets):
        raise RunError(f"{', '.join(map(str, folders))}: no run has completed an epoch")
    style = styles(model for runs in sets for model in runs.models)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(section, sets))
    write_text(out / "table.md", text)
    figures = []
    for runs in sets:
        if runs.drawn():
            figures.append(out / f"{runs.name}.png")
            curves_figure(runs, style, figures[-1])
        if runs.finished:
            figures.append(out / f"{runs.name}_energy.png")
            energy_figure(runs, style, figures[-1])
        if generalisation.figure(runs, style, out / f"{runs.name}_generalisation.png"):
            figures.append(out / f"{runs.name}_generalisation.png")
    for word, steps in ladders(sets).items():
        figures.append(out / f"{word}.png")
        ladder_figure(word, steps, style, figures[-1])
    return text, figures, [f"{runs.name}/{line}" for runs in sets for line in other_lines(runs)]


def check_folder(path):
    """Raises RunError if the path cannot be a folder, before any work is done."""
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            raise RunError(f"{each}: is a file, and a folder is wanted")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.reproduction",
                                     description="Table and figures of runs of one task, several "
                                                 "models and several seeds.")
    parser.add_argument("folders", metavar="FOLDER", nargs="+",
                        help="folder with runs in it: <set>/<model>/seed<N>, or runs/<task>")
    parser.add_argument("-o", "--output", metavar="OUT",
                        help="folder to write to (default: the first FOLDER)")
    parser.add_argument("--keep", metavar="RESULTS",
                        help="copy summary.json and metrics.jsonl of every run to this folder")
    given = parser.parse_args(arguments)
    try:
        for folder in filter(None, (given.output, given.keep)):
            check_folder(Path(folder))
        text, figures, warnings = report(given.folders, given.output or given.folders[0])
        if given.keep:
            keep(given.folders, given.keep)
    except (RunError, OSError) as error:
        print(f"reproduction: {error}", file=sys.stderr)
        return 2
    print(text)
    print("Figures: " + ", ".join(printable(figure) for figure in figures))
    for warning in warnings:
        print(f"reproduction: warning: {warning}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
