"""A table and a figure of one or more runs of a task.

python -m stpn.learning_curves RUN_DIR... -o curves.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from stpn.kinds import EPOCHS, number, plain
from stpn.runs import RunError, baseline_label, read_runs

# Distinguishable for people with colour blindness (Okabe and Ito).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
HEIGHTS = [3, 2]  # of the panels of curves: score, energy


def brief(measure, value):
    return f"{100 * value:.1f} %" if measure.percent else f"{value:.3g}"


def table(runs):
    """The results of the runs and the baselines of their task, as text."""
    kind = runs[0].kind
    rows = [["", "parameters", *(measure.label for measure in kind.scores), kind.costs[0].label,
             kind.time.label, "seconds"]]
    for run in runs:
        rows.append([
            run.name,
            str(run.parameters),
            *(brief(measure, run.metrics[measure.key]) for measure in kind.scores),
            brief(kind.costs[0], run.metrics[kind.costs[0].key]),
            number(kind.time, run.epochs[-1][kind.time.key]),
            f"{run.metrics['wall_seconds']:.0f}",
        ])
    for name, value in runs[0].baselines.items():
        row = [baseline_label(name, kind), "", brief(kind.scores[0], value)]
        rows.append(row + [""] * (len(rows[0]) - len(row)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0])] +
                  [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()
        for row in rows)


def spread(heights, gap):
    """The heights, moved up where needed so that any two are at least `gap` apart."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    for below, above in zip(order, order[1:]):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def draw_lines(axes, runs, measure):
    for run, colour in zip(runs, COLOURS * len(runs)):
        axes.plot(run.curve(run.kind.time.key), run.curve(measure.key), color=colour, linewidth=1.8,
                  marker="o" if len(run.epochs) == 1 else None)


def name_lines(axes, runs, measure, gap):
    """Writes the name of each run at the end of its line."""
    ends = [run.curve(measure.key)[-1] for run in runs]
    low, high = axes.get_ylim()
    for run, colour, height in zip(runs, COLOURS * len(runs), spread(ends, gap * (high - low))):
        axes.annotate(run.name, (run.curve(run.kind.time.key)[-1], height), xytext=(6, 0),
                      textcoords="offset points", va="center", color=colour, weight="bold",
                      annotation_clip=False)


def score_axis(axis, measure, levels):
    """Sets the limits of an axis of scores. An accuracy has the range 0 to 1, with a margin at the top.
    A reward has the range of the data, 0 and the lowest baseline; a higher baseline is included unless
    the data would then cover less than half of the axis."""
    if measure.percent:
        axis.axes.set(**{f"{axis.axis_name}lim": (0, 1.03)})
        axis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        return
    low, high = axis.get_view_interval()
    low = min([low, 0, *levels])
    high = max([high, *(level for level in levels if level - low <= 2 * (high - low))])
    room = 0.02 * (high - low)
    axis.axes.set(**{f"{axis.axis_name}lim": (low - room, high + room)})


def baseline_text(name, level, kind, axis):
    """The label of a baseline, with its value if it is outside the axis."""
    text = baseline_label(name, kind)
    low, high = axis.get_view_interval()
    return text if low <= level <= high else f"{text}: {plain(level)}, out of view"


def time_axis(axis, kind):
    """Formats the time axis: whole epochs, or episodes from 0 as 200k and 1.5M."""
    axis.set_label_text(kind.time_axis)
    if kind.time is EPOCHS:
        axis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    else:
        axis.axes.set_xlim(left=0)
        axis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))


def picture(runs, path):
    """Draws score and, if it was measured during training, energy over training time, into `path`."""
    kind = runs[0].kind
    heights = HEIGHTS[:len(kind.curves)]
    figure, panels = plt.subplots(
        len(heights), 1, figsize=(7.2, 1.4 + sum(heights)), sharex=True, squeeze=False,
        height_ratios=heights, layout="constrained")
    figure.suptitle(runs[0].task.replace("_", " ").capitalize(), x=0.02, ha="left", weight="bold")
    score, *energies = axes = panels[:, 0]
    for panel, measure in zip(axes, kind.curves):
        panel.set_title(measure.axis_label, loc="left", size=10)
        draw_lines(panel, runs, measure)
        panel.margins(x=0.01)

    levels = runs[0].baselines
    score_axis(score.yaxis, kind.curves[0], levels.values())
    for name, level in levels.items():
        score.axhline(level, color="0.75", linewidth=0.8, zorder=0)
        score.annotate(baseline_text(name, level, kind, score.yaxis),
                       (0.99, min(level, score.get_ylim()[1])),
                       xycoords=("axes fraction", "data"), xytext=(0, 3),
                       textcoords="offset points", ha="right", color="0.45", size=8)
    for energy, measure in zip(energies, kind.curves[1:]):
        energy.set_ylim(0, 1.08 * max(max(run.curve(measure.key)) for run in runs))

    time_axis(axes[-1].xaxis, kind)
    for panel, measure, gap in zip(axes, kind.curves, (0.05, 0.08)):
        name_lines(panel, runs, measure, gap)
        panel.spines[["top", "right"]].set_visible(False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.learning_curves",
                                     description="A table and a figure of runs of one task.")
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+", help="the folder of a finished run")
    parser.add_argument("-o", "--output", default="curves.png", help="figure to write (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        runs = read_runs(given.runs)
        print(table(runs))
        picture(runs, given.output)
    except (RunError, OSError) as error:
        print(f"learning_curves: {error}", file=sys.stderr)
        return 2
    print(f"\nFigure: {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
