"""A table and a figure of one or more runs of a task, also of those that are running or were killed.

python -m stpn.learning_curves RUN_DIR... -o curves.png
"""

import argparse
import sys

from stpn.figures import PictureError, check_format, matplotlib, name_ends, plt, save
from stpn.runs.kinds import EPOCHS, WALL_SECONDS, accuracies_from, number, plain
from stpn.runs import RunError, baseline_label, common_kind, printable, read_runs
from stpn.runs.styles import COLOURS, LINES

HEIGHTS = [3, 2]  # of the panels of curves: score, energy
BASELINE_COLOUR = "0.45"


def brief(measure, value):
    return f"{100 * value:.1f} %" if measure.percent else f"{value:.3g}"


def labelled(run):
    """The name of the run, with its state if it is not finished."""
    return run.name if run.finished else f"{run.name} ({run.state})"


def row(run, kind):
    """The results of a run; those of a run that is not finished as far as it has them."""
    last = run.epochs[-1] if run.epochs else {}

    def cell(text_of, measure, values):
        value = values.get(measure.key)
        return "" if value is None else text_of(measure, value)

    return [
        labelled(run),
        "" if run.parameters is None else str(run.parameters),
        *(cell(brief, measure, run.metrics) for measure in (*kind.scores, kind.costs[0])),
        cell(number, kind.time, last),
        cell(number, WALL_SECONDS, run.metrics),
    ]


def baselines_of(runs):
    return next((run.baselines for run in runs if run.baselines), {})


def table(runs):
    """The results of the runs and the baselines of their task, as text."""
    kind = common_kind(runs)
    rows = [["", "parameters", *(measure.label for measure in kind.scores), kind.costs[0].label,
             kind.time.label, "seconds"]]
    rows += [row(run, kind) for run in runs]
    rows += [[baseline_label(name, kind), "", brief(kind.scores[0], value)]
             for name, value in baselines_of(runs).items()]
    rows = [row + [""] * (len(rows[0]) - len(row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0])] +
                  [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()
        for row in rows)


def draw_lines(axes, runs, measure):
    """Draws a line for each run. Returns (name, x, y, colour) of the end of each."""
    ends = []
    for i, run in enumerate(runs):
        colour = COLOURS[i % len(COLOURS)]
        times, values = run.curve(run.kind.time.key), run.curve(measure.key)
        axes.plot(times, values, color=colour, linestyle=LINES[i // len(COLOURS) % len(LINES)],
                  linewidth=1.8, clip_on=False, marker="o" if len(run.epochs) == 1 else None)
        ends.append((labelled(run), times[-1], values[-1], colour))
    return ends


def baseline_style(i):
    """Grey lines behind the data."""
    return {"color": "0.6", "linewidth": 1, "linestyle": LINES[1 + i % 2], "zorder": 0}


def draw_baselines(axes, baselines, kind):
    """Draws a line for each baseline; the limits of the axes stay. Returns (name, x, y, colour) of
    the end of each."""
    low, high = axes.get_ylim()
    ends = []
    for i, (name, level) in enumerate(baselines.items()):
        axes.axhline(level, **baseline_style(i))
        ends.append((baseline_text(name, level, kind, axes.yaxis), axes.get_xlim()[1],
                     min(max(level, low), high), BASELINE_COLOUR))
    axes.set_ylim(low, high)
    return ends


def score_axis(axis, measure, levels):
    """Sets the limits of an axis of scores. An accuracy ends at 1, with a margin, and begins at 0 or 0.4.
    A reward has the range of the data, 0 and the lowest baseline; a higher baseline is included unless
    the data would then cover less than half of the axis."""
    low, high = axis.get_view_interval()
    if measure.percent:
        axis.axes.set(**{f"{axis.axis_name}lim": (accuracies_from(levels, low), 1.03)})
        axis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        return
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
    runs = [run for run in runs if run.epochs]
    kind, baselines = runs[0].kind, baselines_of(runs)
    heights = HEIGHTS[:len(kind.curves)]
    figure, panels = plt.subplots(
        len(heights), 1, figsize=(7.2, 1.4 + sum(heights)), sharex=True, squeeze=False,
        height_ratios=heights, layout="constrained")
    task = next((run.task for run in runs if run.task), "learning curves")
    figure.suptitle(task.replace("_", " ").capitalize(), x=0.02, ha="left", weight="bold")
    score, *energies = axes = panels[:, 0]
    ends = []
    for panel, measure in zip(axes, kind.curves):
        panel.set_title(measure.axis_label, loc="left", size=10)
        ends.append(draw_lines(panel, runs, measure))
        panel.margins(x=0.01)
        panel.spines[["top", "right"]].set_visible(False)
    score_axis(score.yaxis, kind.curves[0], baselines.values())
    for energy, measure in zip(energies, kind.curves[1:]):
        energy.set_ylim(0, 1.08 * max(max(run.curve(measure.key)) for run in runs) or 1)
    time_axis(axes[-1].xaxis, kind)
    ends[0] += draw_baselines(score, baselines, kind)
    for panel, names in zip(axes, ends):
        name_ends(panel, names)
    save(figure, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.learning_curves",
                                     description="A table and a figure of runs of one task.")
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+",
                        help="the folder of a run, finished or not")
    parser.add_argument("-o", "--output", default="curves.png", help="figure to write (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        check_format(given.output)
        runs = read_runs(given.runs)
        print(table(runs))
        picture(runs, given.output)
    except (RunError, PictureError, OSError) as error:
        print(f"learning_curves: {error}", file=sys.stderr)
        return 2
    print(f"\nFigure: {printable(given.output)}")
    for run, folder in zip(runs, given.runs):
        if not run.finished:
            print(f"learning_curves: warning: {folder}: {run.how_it_ended()}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
