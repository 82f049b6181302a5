"""A film of a run that plays Pong, or another Atari game, with its fast weights beside it.

    build/bin/stpn eval RUN --episodes 1 --trace TRACE.json
    python -m stpn.pong_film RUN TRACE.json -o FILM.gif

RUN is the folder of a run of the task pong or atari; with a unit stpn_recurrent or stpn_feedforward the
film shows its synapses, with any other only the screen and the score. The fast weights are computed by
the ops, from the images of the trace; they are right if the policy's actions are those of the trace,
which is checked: each is the most probable one or, with --sampled, all together are likely draws.
"""

import base64
import sys
from dataclasses import dataclass

import numpy
import PIL.Image

from stpn.figures import plt
from stpn.films import FilmError, Stpn, check_choices, check_name, film_parser, is_stpn, read, report, save

STRIDES = (4, 2)  # of the encoder's layers
FRAMES_A_SECOND = 60
SECONDS, FRAMES_A_PICTURE = 20, 8  # of a film, unless told otherwise
COLOURS = 128  # of a film: with fewer those of the paddles are lost

# The layout, in pixels.
SCALE = 2  # of the screen
MARGIN, HEAD, GAP, SIDE = 12, 32, 20, 216
RIGHT, LEFT, INK, PALE = "#3a8a3a", "#B8622B", "#333333", "#b0b0b0"
STRONGER, WEAKER, OPAQUE = (255, 140, 30), (60, 150, 255), 190
SHADES = 6  # of each colour, because a film in few colours is small
SETTLED = 3  # steps after which fast weights have grown from nothing


def decoded(text, height, width):
    """A screen or an image of a trace."""
    runs = numpy.frombuffer(base64.b64decode(text), numpy.uint8)
    return numpy.repeat(runs[1::2], runs[::2]).reshape(height, width)


class Encoder:
    """The encoder of a run: convolutions with relu. An image gives values at rows x columns places."""

    def __init__(self, weights, zero, unit):
        import torch
        self.layers = [[torch.from_numpy(weights[f"encoder.layer{k}_{part}"].copy()) for part in ("weight", "bias")]
                       for k in range(len(STRIDES))]
        self.zero, self.unit = zero, unit
        # Pixels that a place sees, and from one place to the next.
        self.field, self.stride = 1, 1
        for (weight, _), stride in zip(self.layers, STRIDES):
            self.field += (weight.shape[-1] - 1) * self.stride
            self.stride *= stride

    def features(self, image):
        """(rows, columns, filters), of an image of bytes."""
        import torch
        x = torch.from_numpy(image.astype(numpy.float32)).sub(self.zero).div(self.unit)[None, None]
        with torch.no_grad():
            for (weight, bias), stride in zip(self.layers, STRIDES):
                x = torch.relu(torch.nn.functional.conv2d(x, weight, bias, stride=stride))
        return x[0].permute(1, 2, 0).contiguous().numpy()

    def extent(self, places, pixels):
        """The part of an axis of the image, from 0 to 1, whose middles the places are."""
        first = (self.field - self.stride) / 2
        return first / pixels, (first + places * self.stride) / pixels


@dataclass
class Synapses:
    """What a film shows of an STPN at each of its steps."""
    places: numpy.ndarray | None  # (steps, rows, columns): mean |F| of the synapses from a place of the image
    recurrent: numpy.ndarray | None  # (steps, H, H): F of the recurrent synapses
    strength: numpy.ndarray  # (steps): mean |F|
    energy: numpy.ndarray  # (steps): of a neuron, on average
    rows: tuple  # where the places are in the image, from 0 to 1
    columns: tuple


def run_again(config, weights, trace, window, sampled):
    """The synapses at the steps of the window, a range."""
    stpn, encoder = Stpn(config["unit"], weights), Encoder(weights, trace["zero"], trace["unit"])
    connections = config["unit"].get("connections", "all")
    outputs, places, recurrent, strength, energy = [], [], [], [], []
    for t in range(window.stop):
        image = decoded(trace["observations"][t], 84, 84)
        features = encoder.features(image)
        output, energy_of_neurons = stpn.step(features.reshape(-1))
        outputs.append(output)
        if t < window.start:
            continue
        F = stpn.fast_weights
        strength.append(abs(F).mean())
        energy.append(energy_of_neurons.mean())
        if connections != "recurrent":
            places.append(abs(F[:, :features.size]).mean(0).reshape(features.shape).mean(2))
        if stpn.recurrent and connections != "input":
            recurrent.append(F[:, -stpn.neurons:].copy())
    check_choices(outputs, trace["actions"][:window.stop], trace["action_names"], sampled)
    rows, columns, _ = features.shape
    return Synapses(numpy.stack(places) if places else None, numpy.stack(recurrent) if recurrent else None,
                    numpy.array(strength), numpy.array(energy),
                    encoder.extent(rows, len(image)), encoder.extent(columns, len(image[0])))


class Page:
    """A figure whose axes are placed in pixels, from the top left."""

    def __init__(self, width, height):
        self.width, self.height = width, height
        self.figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)

    def axes(self, left, top, width, height):
        return self.figure.add_axes([left / self.width, 1 - (top + height) / self.height,
                                     width / self.width, height / self.height])

    def text(self, left, top, text, **options):
        return self.figure.text(left / self.width, 1 - top / self.height, text, va="center",
                                **{"fontsize": 10, "color": INK, **options})

    def picture(self):
        self.figure.canvas.draw()
        return PIL.Image.fromarray(numpy.asarray(self.figure.canvas.buffer_rgba())[..., :3].copy())


class Screen:
    """The screen of the game, with the score above it."""

    def __init__(self, page, trace):
        self.trace, self.palette = trace, numpy.array(trace["palette"], numpy.uint8)
        self.size = trace["height"], trace["width"]
        height, width = (SCALE * size for size in self.size)
        axes = page.axes(MARGIN, HEAD, width, height)
        axes.axis("off")
        self.image = axes.imshow(self.pixels(0), interpolation="nearest", aspect="auto")
        self.scores = [page.text(MARGIN, HEAD / 2, "", color=LEFT, weight="bold"),
                       page.text(MARGIN + width, HEAD / 2, "", color=RIGHT, weight="bold", ha="right")]
        self.clock = page.text(MARGIN + width / 2, HEAD / 2, "", ha="center", fontsize=9)

    def pixels(self, t):
        """(height, width, 3): what the agent saw before it acted at step t."""
        return self.palette[decoded(self.trace["screens"][t], *self.size)]

    def show(self, t):
        self.image.set_data(self.pixels(t))
        rewards = numpy.array(self.trace["rewards"][:t + 1])
        if self.trace["game"] == "pong":
            self.scores[0].set_text(f"opponent {abs(rewards[rewards < 0].sum()):.0f}")
            self.scores[1].set_text(f"{rewards[rewards > 0].sum():.0f} agent")
        else:
            self.scores[1].set_text(f"score {rewards.sum():.0f}")
        self.clock.set_text(f"{t * self.trace['frames_per_step'] / FRAMES_A_SECOND:.1f} s")


class PlacesMap:
    """A dim screen, under the fast weights at the places of the image: in colour where they are not as on
    average over the film."""

    def __init__(self, page, left, screen, trace, synapses):
        self.screen = screen
        self.change = synapses.places / (synapses.places.mean(0) + 1e-30) - 1
        # A place can lose all of its own mean at most, and gain several times as much.
        self.weaker, self.stronger = (numpy.quantile(numpy.maximum(sign * self.change, 0), 0.995) or 1
                                      for sign in (-1, 1))
        height, width = screen.size
        axes = page.axes(left, HEAD, SCALE * width, SCALE * height)
        axes.axis("off")
        self.below = axes.imshow(self.dim(0), cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto",
                                 extent=(0, width, height, 0))
        # With the images of the published STPNs the agent does not see 25 rows at each end.
        top = 25 if trace["mode"] == "stpn" else 0
        seen = height - 2 * top
        (first_row, last_row), (first_column, last_column) = synapses.rows, synapses.columns
        self.map = axes.imshow(self.colours(0), interpolation="nearest", aspect="auto",
                               extent=(first_column * width, last_column * width,
                                       top + last_row * seen, top + first_row * seen))
        axes.set(xlim=(0, width), ylim=(height, 0))
        page.text(left, HEAD / 2, "fast weights on the image")
        right = left + SCALE * width
        for end, sign, bound, colour in ((right - 62, "−", self.weaker, WEAKER),
                                         (right, "+", self.stronger, STRONGER)):
            darker = numpy.array(colour) / 300
            page.text(end, HEAD / 2, f"{sign}{100 * bound:.0f}%", color=darker, weight="bold", ha="right")

    def dim(self, t):
        grey = self.screen.pixels(t).mean(2)
        return 30 + numpy.minimum(abs(grey - numpy.median(grey)), 90)

    def colours(self, k):
        """(rows, columns, 4), where no change is transparent."""
        change = self.change[k]
        pixels = numpy.empty((*change.shape, 4), numpy.uint8)
        grows = change > 0
        pixels[..., :3] = numpy.where(grows[..., None], STRONGER, WEAKER)
        share = abs(change) / numpy.where(grows, self.stronger, self.weaker)
        pixels[..., 3] = OPAQUE * numpy.rint(SHADES * numpy.minimum(share, 1)) / SHADES
        return pixels

    def show(self, t, k):
        self.below.set_data(self.dim(t))
        self.map.set_data(self.colours(k))


class RecurrentBlock:
    """The fast weights of the recurrent synapses, as a matrix."""

    def __init__(self, page, left, synapses):
        # Neurons whose fast weights grow most at the top.
        order = numpy.argsort(-abs(synapses.recurrent).max(axis=(0, 2)))
        self.F = synapses.recurrent[:, order][:, :, order]
        bound = numpy.quantile(abs(self.F), 0.995) or 1
        page.text(left, HEAD / 2, f"and between neurons, ± {bound:.1g}")
        page.text(left, HEAD + SIDE + 10, "row: to a neuron, column: from one", fontsize=8)
        axes = page.axes(left, HEAD, SIDE, SIDE)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(PALE)
        self.image = axes.imshow(self.F[0], cmap=plt.get_cmap("RdBu_r", 15), vmin=-bound, vmax=bound,
                                 interpolation="nearest", aspect="auto")

    def show(self, k):
        self.image.set_data(self.F[k])


class Curve:
    """A value over the steps of the film, with a line at the present one and at points."""

    def __init__(self, page, place, title, values, points):
        axes = page.axes(*place)
        settled = values[min(SETTLED, len(values) - 1):]
        low, high = settled.min(), settled.max()
        page.text(place[0], place[1] - 9, f"{title}, {low:.3g} to {high:.3g}", fontsize=9)
        for k, reward in points:
            axes.axvline(k, color=RIGHT if reward > 0 else LEFT, linewidth=1)
        axes.plot(values, color=INK, linewidth=1)
        axes.set(xticks=[], xlim=(0, max(len(values) - 1, 1)), yticks=[])
        if high > low:
            axes.set_ylim(low - (high - low) / 5, high + (high - low) / 5)
        axes.spines[:].set_color(PALE)
        self.now = axes.axvline(0, color=INK, linewidth=1.5)

    def show(self, k):
        self.now.set_xdata([k, k])


def draw(trace, window, every, synapses):
    """Yields the pictures; `synapses` None: without."""
    height, width = SCALE * trace["height"], SCALE * trace["width"]
    columns = [MARGIN, MARGIN + width + GAP, MARGIN + 2 * width + 2 * GAP]
    page = Page(columns[2] + SIDE + MARGIN if synapses else columns[0] + width + MARGIN, HEAD + height + MARGIN)
    screen = Screen(page, trace)
    parts = []
    if synapses:
        if synapses.places is not None:
            places = PlacesMap(page, columns[1], screen, trace, synapses)
        if synapses.recurrent is not None:
            parts.append(RecurrentBlock(page, columns[2], synapses))
        points = [(t - window.start, trace["rewards"][t]) for t in window if trace["rewards"][t]]
        bottom = HEAD + height
        parts.append(Curve(page, (columns[2], bottom - 165, SIDE, 70), "mean |F|",
                           synapses.strength, points))
        parts.append(Curve(page, (columns[2], bottom - 70, SIDE, 70), "energy", synapses.energy, points))
    for t in window[::every]:
        screen.show(t)
        if synapses and synapses.places is not None:
            places.show(t, t - window.start)
        for part in parts:
            part.show(t - window.start)
        yield page.picture()
    plt.close(page.figure)


def make(options):
    """Makes the film. Returns a line that says what it is."""
    config, weights, trace = read(options.run, options.trace, "atari")
    game = config["task"].get("game", config["task"]["name"])
    if game != trace["game"]:
        raise FilmError(f"{options.trace}: is a trace of {trace['game']}, but the run plays {game}")
    frames = trace["frames_per_step"]
    steps = options.steps or SECONDS * FRAMES_A_SECOND // frames
    every = options.every or max(1, FRAMES_A_PICTURE // frames)
    if options.start >= len(trace["actions"]):
        raise FilmError(f"--start {options.start}: the game has {len(trace['actions'])} steps")
    window = range(options.start, min(options.start + steps, len(trace["actions"])))
    synapses = run_again(config, weights, trace, window, options.sampled) if is_stpn(config["unit"]) else None
    pictures = list(draw(trace, window, every, synapses))
    save(pictures, options.out, round(1000 * frames * every / FRAMES_A_SECOND), colours=COLOURS)
    return f"{options.out}: {len(pictures)} pictures, {len(window)} steps" + ("" if synapses else ", without synapses")


def main(arguments=None):
    parser = film_parser("pong_film", f"{__doc__.splitlines()[0]} The fast weights are those of an STPN; the film of "
                                      "any other unit has the screen and the score only.")
    parser.add_argument("--sampled", action="store_true", help="the trace is one of stpn eval --sampled")
    parser.add_argument("--start", type=int, default=0, help="step of the game to begin with (default 0)")
    parser.add_argument("--steps", type=int, help=f"how many (default: {SECONDS} seconds of the game)")
    parser.add_argument("--every", type=int, help="steps from one picture to the next (default: "
                                                  f"{FRAMES_A_PICTURE} frames of the game)")
    options = parser.parse_args(arguments)
    if options.start < 0 or any(number is not None and number < 1 for number in (options.steps, options.every)):
        parser.error("--start must be at least 0, --steps and --every at least 1")
    check_name(parser, options.out)
    return report("pong_film", options, lambda: make(options))


if __name__ == "__main__":
    sys.exit(main())
