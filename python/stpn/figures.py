"""What the figures share: files, and names at the ends of lines."""

from pathlib import Path

import matplotlib
import PIL.Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from stpn.runs.files import whole

plt.rcParams["text.parse_math"] = False  # a folder's name with two dollar signs is not a formula

NAME_HEIGHT = 11.5  # points from one name to the next, at least
NAME_SIZE = 8.5


class PictureError(Exception):
    """A picture that cannot be written. The message names the file and the reason."""


def formats():
    """The formats that can be written: without pgf, which needs LaTeX, and bytes without a header."""
    known = matplotlib.backend_bases.FigureCanvasBase.get_supported_filetypes()
    return sorted(set(known) - {"pgf", "raw", "rgba"})


def check_format(path):
    """Raises PictureError if the file's name does not end in a format that can be written."""
    if Path(path).suffix[1:].lower() not in formats():
        raise PictureError(f"{path}: the name of a picture must end in one of "
                           + ", ".join(f".{name}" for name in formats()))


def save(figure, path):
    """Writes the figure. A PNG file gets a palette, which makes it a third as large."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        figure.savefig(partial, dpi=150)
        plt.close(figure)
        if path.suffix.lower() == ".png":
            with PIL.Image.open(partial) as image:
                reduced = image.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE)
            reduced.save(partial, optimize=True)


def bare(axes):
    axes.spines[["top", "right"]].set_visible(False)


def set_title(figure, title, text):
    """The title in bold, and below it a line in words."""
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    figure.axes[0].set_title(text, loc="left", size=10, pad=10)


def number_axis(axis, numbers, upto=None):
    """A tick at each number, up to `upto` if given; logarithmic, since such numbers mostly double."""
    if min(numbers) > 0:
        axis.axes.set_xscale("log")
    shown = [number for number in numbers if upto is None or number <= upto]
    axis.set_major_locator(matplotlib.ticker.FixedLocator(shown))
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())


def spread(heights, gap):
    """The heights, all from 0 to 1, moved as little as needed so that any two are `gap` apart. They
    stay in order and between 0 and 1; if that is too little room, the gap is smaller."""
    gap = min(gap, 1 / max(len(heights) - 1, 1))
    groups = []  # (indices of neighbours that are exactly a gap apart, height of the lowest)
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        group = [index]
        while True:
            size = gap * (len(group) - 1)
            centre = sum(heights[member] for member in group) / len(group)
            bottom = min(max(centre - size / 2, 0), 1 - size)
            if not groups or bottom >= groups[-1][1] + gap * len(groups[-1][0]):
                break
            group = groups.pop()[0] + group
        groups.append((group, bottom))
    moved = list(heights)
    for group, bottom in groups:
        for place, index in enumerate(group):
            moved[index] = bottom + gap * place
    return moved


def name_ends(axes, ends):
    """Writes names to the right of the axes, moved apart and joined to the ends of their lines.
    `ends` has (name, x, y, colour) of each. The limits of the axes must be final."""
    axes.figure.draw_without_rendering()  # the layout decides how high the axes are
    to_fraction = axes.transData + axes.transAxes.inverted()
    fractions = [min(max(to_fraction.transform((x, y))[1], 0), 1) for _, x, y, _ in ends]
    gap = NAME_HEIGHT / 72 * axes.figure.dpi / axes.get_window_extent().height
    right = axes.get_xlim()[1]
    for (name, x, y, colour), height in zip(ends, spread(fractions, gap)):
        axes.annotate(name, (min(x, right), y), (1.05, height), textcoords="axes fraction",
                      va="center", color=colour, size=NAME_SIZE, annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6,
                                  "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0})
