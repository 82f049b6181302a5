"""A figure of one episode in the maze, from the output of `stpn eval ... --trace TRACE.json`.

python -m stpn.maze_picture TRACE.json -o maze.png
"""

import argparse
import json
import sys
from pathlib import Path

from matplotlib.collections import LineCollection

from stpn.figures import PictureError, check_format, matplotlib, plt, save
from stpn.runs import printable

WALL, GROUND, REWARD = "#4a4a4a", "#f4f4f2", "#D55E00"
TIME = "viridis"
# Walks through the same cells are drawn in LANES lanes next to each other, SPREAD cells wide in total.
SPREAD = 0.5
LANES = 7


class TraceError(Exception):
    """A file that is not a trace of the maze. The message names the file and the reason."""


def read_trace(path):
    try:
        trace = json.loads(Path(path).read_text())
        if "answers" in trace:
            raise TraceError(f"{path}: is a trace of a sequence, not of the maze")
        if trace["task"] != "maze":
            raise TraceError(f"{path}: is a trace of the task {trace['task']}, not of the maze")
        size, steps = trace["size"], len(trace["rewards"])
        sum(trace["rewards"])  # they are numbers
        if {len(trace["walls"]), *map(len, trace["walls"])} != {size}:
            raise TraceError(f"{path}: its walls are not {size} x {size} cells")
        if len(trace["positions"]) != steps + 1 or not all(0 <= t < steps for t in trace["teleports"]):
            raise TraceError(f"{path}: the lengths of its lists do not match")
        for row, column in [trace["reward_cell"], *trace["positions"]]:
            if trace["walls"][row][column] == "#":
                raise TraceError(f"{path}: a position is inside a wall")
        return trace
    except FileNotFoundError:
        raise TraceError(f"{path}: does not exist; stpn eval EXPERIMENT --trace {path} writes it") from None
    except KeyError as error:
        raise TraceError(f"{path}: has no {error}") from None
    except (ValueError, TypeError, IndexError) as error:
        raise TraceError(f"{path}: not an output of stpn eval --trace: {error}") from None


def walks(trace):
    """Divides the path into walks, each from the start or a teleport to the reward or the end of the
    episode. Yields (first step, cells). The last walk has one cell if the last step was rewarded."""
    begin = 0
    for end in trace["teleports"]:
        yield begin, trace["positions"][begin:end + 1] + [trace["reward_cell"]]
        begin = end + 1
    yield begin, trace["positions"][begin:]


def draw_maze(axes, trace):
    size = trace["size"]
    for row, text in enumerate(trace["walls"]):
        for column, cell in enumerate(text):
            axes.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, linewidth=0,
                                         color=WALL if cell == "#" else GROUND))
    row, column = trace["reward_cell"]
    axes.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, linewidth=0, color=REWARD,
                                 alpha=0.35))
    axes.plot(column, row, "*", color=REWARD, markersize=min(170 / size, 18), zorder=4)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_line(axes, points, steps, norm, width):
    """Draws a line through the points; each segment has the colour of its step."""
    lines = LineCollection(list(zip(points, points[1:])), cmap=TIME, norm=norm, linewidth=width,
                           capstyle="round", zorder=2)
    lines.set_array(list(steps))
    axes.add_collection(lines)


def draw_walk(axes, first_step, cells, shifts, norm):
    """Draws a walk as a line with a ring at its start. Its offset from the cell centres changes from
    shifts[0] at the start to shifts[1] at the end."""
    last = max(len(cells) - 1, 1)
    points = []
    for index, (row, column) in enumerate(cells):
        shift = shifts[0] + (shifts[1] - shifts[0]) * index / last
        points.append((column + shift, row + shift))
    axes.plot(*points[0], "o", markersize=5, markerfacecolor="white", markeredgewidth=1.3,
              markeredgecolor=plt.get_cmap(TIME)(norm(first_step)), zorder=3)
    draw_line(axes, points, range(first_step, first_step + len(points) - 1), norm, 1.6)


def draw_rewards(axes, trace, norm):
    """Draws the cumulative reward over the steps, in the colours of the walks."""
    sums = [0]
    for reward in trace["rewards"]:
        sums.append(sums[-1] + reward)
    draw_line(axes, list(enumerate(sums)), range(len(sums) - 1), norm, 2.5)
    axes.set_xlim(0, max(len(sums) - 1, 1))
    axes.set_ylim(0, 1.05 * max(sums[-1], 10))
    axes.set_xlabel("Step")
    axes.set_title("Reward so far", loc="left", size=10)
    axes.spines[["top", "right"]].set_visible(False)


def picture(trace, path):
    """Draws the walk to the first reward, the later walks and the cumulative reward, into `path`."""
    steps = len(trace["rewards"])
    norm = matplotlib.colors.Normalize(0, 1.1 * steps)  # the palest colours of the map are left out
    figure = plt.figure(figsize=(9, 6.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[4, 1])
    before, after = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    figure.suptitle(f"Maze of {trace['size']} × {trace['size']} cells: reward "
                    f"{sum(trace['rewards']):g} in {steps} steps", x=0.02, ha="left", weight="bold")

    first, *later = walks(trace)
    before.set_title("Until the first reward" if later else "No reward was found", loc="left", size=10)
    draw_maze(before, trace)
    # This walk may cross itself often, so its offset changes along the way.
    draw_walk(before, *first, (-SPREAD / 2, SPREAD / 2), norm)
    if later:
        more = len(trace["teleports"]) - 1
        after.set_title(f"After it: {more} more", loc="left", size=10)
        draw_maze(after, trace)
        for index, walk in enumerate(later):
            lane = SPREAD * (index % LANES / (LANES - 1) - 0.5)
            draw_walk(after, *walk, (lane, lane), norm)
    else:
        after.set_visible(False)
    draw_rewards(figure.add_subplot(grid[1, :]), trace, norm)
    save(figure, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.maze_picture",
                                     description="A figure of one episode in the maze.")
    parser.add_argument("trace", metavar="TRACE.json", help="output of stpn eval --trace")
    parser.add_argument("-o", "--output", default="maze.png", help="figure to write (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        check_format(given.output)
        picture(read_trace(given.trace), given.output)
    except (TraceError, PictureError, OSError) as error:
        print(f"maze_picture: {error}", file=sys.stderr)
        return 2
    print(f"Figure: {printable(given.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
