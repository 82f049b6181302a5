"""Table and figures of runs of one task, several models and several seeds, from their summary.json
and metrics.jsonl.

python -m stpn.reproduction FOLDER... [-o OUT] [--keep RESULTS]

A FOLDER is that of `stpn reproduce` or any folder with runs in it, such as runs/maze, where `stpn
train` puts runs of different seeds. Runs are told apart by the ends of their paths,
<set>/<model>/<seed>; those that have not ended are left out. Writes to OUT (default: the first FOLDER):

    table.md          for each set, mean and standard deviation over seeds, and the task's baselines
    <set>.png         accuracy and energy over epochs; for an RL task, reward over training episodes
    <set>_energy.png  energy over test accuracy or reward, one marker for each run
    <word>.png        test accuracy, or share of the oracle's margin, over the sets whose names are a
                      word and a number, such as pairs4 and pairs8
"""

import argparse
import re
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from stpn.kinds import number, plain
from stpn.learning_curves import COLOURS, HEIGHTS, baseline_text, score_axis, time_axis
from stpn.runs import NAMES, RunError, baseline_label, of_one_task, read_run

MARKERS = "osD^vPX*<>hpd"  # 13; with 6 colours, 78 combinations before the first repeats
LINES = ["-", "--", ":"]
PANEL = 7  # the most models in a panel, for legibility


def position(model):
    """Sort key: models in the order of NAMES, then the others in alphabetical order."""
    known = list(NAMES)
    return (known.index(model) if model in known else len(known), model)


def by_number(name):
    """Sort key that puts pairs4 before pairs16."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def finished_runs(folders):
    """{(set, model, seed): the folder of a run that has ended}, in the order of their names."""
    found = {}
    for folder in folders:
        summaries = sorted(Path(folder).resolve().rglob("summary.json"))
        if not summaries:
            raise RunError(f"{folder}: has no run that has ended (a summary.json)")
        for summary in summaries:
            run = summary.parent
            place = run.parts[-3:]
            if len(place) < 3:
                raise RunError(f"{run}: must be in a folder <set>/<model>/<seed>")
            if found.setdefault(place, run) != run:
                raise RunError(f"{found[place]} and {run}: both are {'/'.join(place)}; give one of "
                               "them")
    return dict(sorted(found.items(), key=lambda item: by_number("/".join(item[0]))))


def find_runs(folders):
    """{set: {model: runs by seed}}, in the order in which they are shown."""
    sets = defaultdict(lambda: defaultdict(list))
    for (name, model, _), folder in finished_runs(folders).items():
        run = read_run(folder)
        if run.model != model:  # given a name of its own with `stpn train --out`
            run.name = model
        sets[name][model].append(run)
    of_one_task([run for models in sets.values() for runs in models.values() for run in runs])
    for models in sets.values():
        of_different_seeds(models)
    return {name: {model: sets[name][model] for model in sorted(sets[name], key=position)}
            for name in sorted(sets, key=by_number)}


def of_different_seeds(models):
    for model, runs in models.items():
        seeds = [run.seed for run in runs]
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise RunError(f"{model}: has several runs of seed {seed}, which would count as "
                               "independent: put variants into folders of their own")


def keep(folders, results):
    """Copies the files that tables and figures need of each finished run."""
    for place, folder in finished_runs(folders).items():
        to = Path(results, *place)
        to.mkdir(parents=True, exist_ok=True)
        for name in ("summary.json", "metrics.jsonl"):
            shutil.copyfile(folder / name, to / name)


def with_std(values, measure):
    """Mean and, if there are several values, sample standard deviation: "5.02 ± 0.28"."""
    text = number(measure, statistics.mean(values))
    if len(values) > 1:
        decimals = len(text.partition(".")[2])
        text += f" ± {measure.scale * statistics.stdev(values):.{decimals}f}"
    return text + (" %" if measure.percent else "")


def metric(runs, measure):
    return [run.metrics[measure.key] for run in runs]


def learnt_at(models):
    """The value of `kind.learning` at which a model counts as having learnt the task."""
    kind = kind_of_set(models)
    if kind.learnt is not None:
        return kind.learnt
    best = max(statistics.mean(metric(runs, kind.learning)) for runs in models.values())
    return max(0.01, round(best / 2, 2))  # chance would reach 0


def time_to_learn(runs, level):
    kind = runs[0].kind
    reached = [next((line[kind.time.key] for line in run.epochs
                     if line[kind.learning.key] >= level), None) for run in runs]
    there = [time for time in reached if time is not None]
    if not there:
        return "never"
    some = "" if len(there) == len(runs) else f" ({len(there)} of {len(runs)})"
    return with_std(there, kind.time) + some


def kind_of_set(models):
    return next(iter(models.values()))[0].kind


def baselines_of(models):
    return next(iter(models.values()))[0].baselines


def table(name, models):
    """The Markdown table of a set."""
    kind, level = kind_of_set(models), learnt_at(models)
    rows = [["model", "seeds", "parameters", *(measure.label for measure in kind.scores),
             f"{kind.time.label} to {f'{level:.0%}' if kind.learning.percent else plain(level)}", *(measure.label for measure in kind.costs),
             kind.seconds.label]]
    for runs in models.values():
        rows.append([
            runs[0].name, str(len(runs)), str(runs[0].parameters),
            *(with_std(metric(runs, measure), measure) for measure in kind.scores),
            time_to_learn(runs, level),
            *(with_std(metric(runs, measure), measure) for measure in kind.costs),
            number(kind.seconds, statistics.mean(metric(runs, kind.seconds))),
        ])
    for baseline, value in baselines_of(models).items():
        row = [baseline_label(baseline, kind), "", "", with_std([value], kind.scores[0])]
        rows.append(row + [""] * (len(rows[0]) - len(row)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in rows]
    return f"## {name}\n\n" + "\n".join(lines) + "\n"


def styles(sets):
    """Colour, marker and line style of each model, the same in all figures."""
    models = sorted({model for models in sets.values() for model in models}, key=position)
    return {model: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)],
                    "linestyle": LINES[i // len(COLOURS) % len(LINES)]}
            for i, model in enumerate(models)}


def mean_curve(axes, runs, measure, style, label):
    """Draws the mean over the runs with a band of one standard deviation on each side."""
    curves = list(zip(*(run.curve(measure.key) for run in runs)))  # cut to the shortest run
    times = runs[0].curve(runs[0].kind.time.key)[:len(curves)]
    mean = [statistics.mean(values) for values in curves]
    axes.plot(times, mean, label=label, linewidth=1.6, markersize=5, **style,
              markevery=max(1, len(times) // 8))
    if len(runs) > 1:
        std = [statistics.stdev(values) for values in curves]
        axes.fill_between(times, [m - s for m, s in zip(mean, std)],
                          [m + s for m, s in zip(mean, std)],
                          color=style["color"], alpha=0.18, linewidth=0)


def baseline_style(i):
    """Grey lines behind the data."""
    return {"color": "0.6", "linewidth": 1, "linestyle": LINES[1 + i % 2], "zorder": 0}


def draw_baselines(draw, models, axis):
    """Draws the baselines with `draw`, which is axhline or axvline; the axis limits stay."""
    for i, (name, level) in enumerate(baselines_of(models).items()):
        draw(level, label=baseline_text(name, level, kind_of_set(models), axis),
             **baseline_style(i))


def bare(axes):
    axes.spines[["top", "right"]].set_visible(False)


def save(figure, path):
    figure.savefig(path, dpi=150)
    plt.close(figure)


class PlainLogFormatter(matplotlib.ticker.LogFormatter):
    """Writes 0.6 where the base class writes 6e-01."""

    def __call__(self, x, pos=None):
        return f"{x:g}" if super().__call__(x, pos) else ""


def energy_axis(axis):
    """A logarithmic axis, because energies differ by decades, with numbers without exponents."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(PlainLogFormatter(minor_thresholds=(2, 0.5)))
    axis.set_minor_formatter(PlainLogFormatter(minor_thresholds=(2, 0.5)))


def seeds_of(models):
    """The part of a title about seeds, and a suffix for the name of each model."""
    counts = {model: len(runs) for model, runs in models.items()}
    if len(set(counts.values())) > 1:
        return ("mean and standard deviation over seeds (how many)",
                {model: f" ({count})" for model, count in counts.items()})
    count = max(counts.values())
    return (f"mean and standard deviation over {count} seeds" if count > 1 else "one seed",
            dict.fromkeys(counts, ""))


def curves_figure(name, models, style, path):
    """Columns of at most PANEL models: score at the top, energy (if any) below it, then the legend."""
    kind = kind_of_set(models)
    names = list(models)
    columns = -(-len(names) // PANEL)
    heights = HEIGHTS[:len(kind.curves)]
    figure, axes = plt.subplots(len(heights), columns,
                                figsize=(1.5 + 5.2 * columns, 1.4 + 1.2 * sum(heights)), sharex=True,
                                sharey="row", squeeze=False, height_ratios=heights,
                                layout="constrained")
    over, suffix = seeds_of(models)
    figure.suptitle(f"{name}: {over}", x=0.02, ha="left", weight="bold")
    for panels, measure in zip(axes, kind.curves):
        panels[0].set_ylabel(measure.axis_label)
        for column, panel in enumerate(panels):
            for model in names[column * PANEL:(column + 1) * PANEL]:
                runs = models[model]
                mean_curve(panel, runs, measure, style[model], runs[0].name + suffix[model])
            panel.margins(x=0.01)
            bare(panel)
    score_axis(axes[0, 0].yaxis, kind.curves[0], baselines_of(models).values())
    for energy in axes[1:, 0]:
        energy_axis(energy.yaxis)
    for score, last in zip(axes[0], axes[-1]):
        draw_baselines(score.axhline, models, score.yaxis)
        time_axis(last.xaxis, kind)
        last.legend(*score.get_legend_handles_labels(), loc="upper center",
                    bbox_to_anchor=(0.5, -0.4 / heights[-1]), ncols=3, frameon=False)
    save(figure, path)


def energy_figure(name, models, style, path):
    """Energy over score: lower and further right is better."""
    kind = kind_of_set(models)
    figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    figure.suptitle(f"{name}: energy over {kind.noun}, one marker per run", x=0.02, ha="left",
                    weight="bold")
    for model, runs in models.items():
        axes.scatter(metric(runs, kind.scores[0]), metric(runs, kind.energy), s=60,
                     edgecolors="white", linewidths=0.6, label=runs[0].name,
                     color=style[model]["color"], marker=style[model]["marker"])
    score_axis(axes.xaxis, kind.scores[0], baselines_of(models).values())
    axes.set_xlabel(kind.scores[0].axis_label)
    axes.set_ylabel(kind.energy.axis_label)
    energy_axis(axes.yaxis)
    draw_baselines(axes.axvline, models, axes.xaxis)
    bare(axes)
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def ladders(sets):
    """{word: [(number, models)]} of the sets whose names are the same word with different numbers."""
    found = defaultdict(list)
    for name, models in sets.items():
        if match := re.fullmatch(r"(.*\D)(\d+)", name):
            found[match[1]].append((int(match[2]), models))
    return {word: steps for word, steps in found.items() if len(steps) > 1}


def ladder_figure(word, steps, style, path):
    """The score over the numbers of the sets, for the models that are in more than one of them."""
    kind = kind_of_set(steps[0][1])
    score = kind.scores[-1]
    figure, axes = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    figure.suptitle(f"{score.axis_label} over {word}", x=0.02, ha="left", weight="bold")
    points = defaultdict(list)
    for step, models in steps:
        for model, runs in models.items():
            points[model].append((step, runs))
    for model in sorted(points, key=position):
        if len(points[model]) < 2:
            continue
        values = [metric(runs, score) for _, runs in points[model]]
        axes.errorbar([step for step, _ in points[model]],
                      [statistics.mean(value) for value in values],
                      [statistics.stdev(value) if len(value) > 1 else 0 for value in values],
                      label=points[model][0][1][0].name, linewidth=1.6, markersize=6, capsize=3,
                      **style[model])
    numbers = [step for step, _ in steps]
    if score is kind.scores[0]:  # a share is relative to the baselines already
        for i, baseline in enumerate(baselines_of(steps[0][1])):
            axes.plot(numbers, [baselines_of(models)[baseline] for _, models in steps],
                      label=baseline_label(baseline, kind), **baseline_style(i))
    score_axis(axes.yaxis, score, ())
    axes.set_xticks(numbers)
    axes.set_xlabel(word.capitalize())
    axes.set_ylabel(score.axis_label)
    bare(axes)
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def report(folders, out):
    """Writes table and figures. Returns the table and the paths of the figures."""
    sets = find_runs(folders)
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
                                     description="Table and figures of runs of one task, several "
                                                 "models and several seeds.")
    parser.add_argument("folders", metavar="FOLDER", nargs="+",
                        help="folder with runs in it: <set>/<model>/seed<N>, or runs/<task>")
    parser.add_argument("-o", "--output", metavar="OUT",
                        help="folder to write to (default: the first FOLDER)")
    parser.add_argument("--keep", metavar="RESULTS",
                        help="copy summary.json and metrics.jsonl of every finished run to this folder")
    given = parser.parse_args(arguments)
    try:
        text, figures = report(given.folders, given.output or given.folders[0])
        if given.keep:
            keep(given.folders, given.keep)
    except (RunError, OSError) as error:
        print(f"reproduction: {error}", file=sys.stderr)
        return 2
    print(text)
    print("Figures: " + ", ".join(str(figure) for figure in figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
