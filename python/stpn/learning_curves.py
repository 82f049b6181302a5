"""A table and a picture of one or more runs of a sequence task.

python -m stpn.learning_curves RUN_DIR... -o curves.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from stpn.runs import RunError, read_runs, yardstick_label

# Told apart also by those who see few colours (Okabe and Ito).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def table(runs):
    """What the runs came to, beside what guessing gives, as lines of text."""
    rows = [["", "parameters", "test accuracy", "energy a step", "epochs", "seconds"]]
    for run in runs:
        rows.append([
            run.name,
            str(run.parameters),
            f"{100 * run.metrics['test_accuracy']:.1f} %",
            f"{run.metrics['energy_per_step']:.3g}",
            str(len(run.epochs)),
            f"{run.seconds:.0f}",
        ])
    for name, value in runs[0].yardsticks.items():
        rows.append([yardstick_label(name), "", f"{100 * value:.1f} %", "", "", ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0])] +
                  [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()
        for row in rows)


def spread(heights, gap):
    """The heights, moved apart as little as is simple, so that none is nearer than `gap`."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    for below, above in zip(order, order[1:]):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def draw_lines(axes, runs, metric, gap):
    """A line a run, its name at the line's end."""
    for run, colour in zip(runs, COLOURS * len(runs)):
        axes.plot(run.curve("epoch"), run.curve(metric), color=colour, linewidth=1.8,
                  marker="o" if len(run.epochs) == 1 else None)
    ends = [run.curve(metric)[-1] for run in runs]
    low, high = axes.get_ylim()
    for run, colour, height in zip(runs, COLOURS * len(runs), spread(ends, gap * (high - low))):
        axes.annotate(run.name, (run.curve("epoch")[-1], height), xytext=(6, 0),
                      textcoords="offset points", va="center", color=colour, weight="bold",
                      annotation_clip=False)


def percent_axis(axis):
    """The whole of an accuracy, with room for a line at the top."""
    axis.axes.set(**{f"{axis.axis_name}lim": (0, 1.03)})
    axis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))


def picture(runs, path):
    """Accuracy and energy over the epochs, to `path`."""
    figure, (accuracy, energy) = plt.subplots(
        2, 1, figsize=(7.2, 6.4), sharex=True, height_ratios=[3, 2], layout="constrained")
    figure.suptitle(runs[0].task.replace("_", " ").capitalize(), x=0.02, ha="left", weight="bold")

    percent_axis(accuracy.yaxis)
    for name, level in runs[0].yardsticks.items():
        accuracy.axhline(level, color="0.75", linewidth=0.8, zorder=0)
        accuracy.annotate(yardstick_label(name), (0.99, level), xycoords=("axes fraction", "data"),
                          xytext=(0, 3), textcoords="offset points", ha="right", color="0.45",
                          size=8)
    accuracy.set_title("Validation accuracy", loc="left", size=10)
    draw_lines(accuracy, runs, "validation_accuracy", gap=0.05)

    energy.set_title("Energy a step (V² × conductance)", loc="left", size=10)
    energy.set_ylim(0, 1.08 * max(max(run.curve("energy_per_step")) for run in runs))
    energy.set_xlabel("Epoch")
    energy.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    draw_lines(energy, runs, "energy_per_step", gap=0.08)

    for axes in (accuracy, energy):
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.learning_curves",
                                     description="A table and a picture of runs of one task.")
    parser.add_argument("runs", metavar="RUN_DIR", nargs="+", help="the folder of a run")
    parser.add_argument("-o", "--output", default="curves.png", help="picture to write (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        runs = read_runs(given.runs)
        print(table(runs))
        picture(runs, given.output)
    except (RunError, OSError) as error:
        print(f"learning_curves: {error}", file=sys.stderr)
        return 2
    print(f"\nThe picture: {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
