"""A film of a trained STPN that balances the pendulum, with its fast weights beside it.

    build/bin/stpn eval RUN --episodes 1 --trace TRACE.json
    python -m stpn.pendulum_film RUN TRACE.json -o FILM.gif

RUN is the folder of a run of the task inverted_pendulum with a unit stpn_recurrent or
stpn_feedforward. The film shows the first steps of the episode, in a GIF or an animated PNG. Its fast
weights are computed by the ops, from the observations of the trace; they are right if the policy's
actions are those of the trace, which is checked.
"""

import sys

import numpy
import PIL.Image

from stpn.figures import plt
from stpn.films import FilmError, Stpn, check_name, film_parser, is_stpn, read, report, save

MAGNIFIED = 20  # times the angle, or the pole would seem to stand still
CART, POLE, RAIL = "#4a4a4a", "#D55E00", "#b0b0b0"
POLE_LENGTH = 0.6  # m
RAIL_END = 1  # m from the middle


def fast_weights(run, config, weights, trace, steps):
    """(steps, H, presynaptic inputs): F after each step of the episode."""
    if not is_stpn(config["unit"]):
        raise FilmError(f"{run}: its unit is no STPN with plain parameters, so there is no film of its synapses")
    stpn = Stpn(config["unit"], weights)
    limit = 3
    history = []
    for t in range(steps):
        outputs, _ = stpn.step(trace["observations"][t])
        action = max(-limit, min(limit, limit * outputs[0]))
        traced = max(-limit, min(limit, trace["actions"][t][0]))
        if abs(action - traced) > 1e-2:
            raise FilmError(f"step {t}: the action is {action:.4f}, in the trace {traced:.4f}: "
                            "is the trace of this run?")
        history.append(stpn.fast_weights.copy())
    return numpy.stack(history)


def draw_pendulum(axes, position, angle):
    tilt = MAGNIFIED * angle
    axes.plot([-RAIL_END, RAIL_END], [0, 0], color=RAIL, linewidth=3, zorder=0)
    axes.add_patch(plt.Rectangle((position - 0.2, -0.1), 0.4, 0.2, color=CART))
    axes.plot([position, position + POLE_LENGTH * numpy.sin(tilt)], [0, POLE_LENGTH * numpy.cos(tilt)],
              color=POLE, linewidth=5, solid_capstyle="round")
    axes.set(xlim=(-1.3, 1.3), ylim=(-0.7, 0.9), aspect="equal")
    axes.axis("off")
    axes.set_title(f"the pole's angle is drawn {MAGNIFIED} times as large", fontsize=9)


def frames(trace, history, every):
    """Yields pictures."""
    states = numpy.array(trace["qpos"])
    bound = abs(history).max() or 1
    # Neurons whose fast weights grow most at the top.
    history = history[:, numpy.argsort(-abs(history).max(axis=(0, 2))), :]
    inputs = len(trace["observations"][0])
    seconds = trace["time_step"] * trace["physics_steps"]
    for t in range(0, len(history), every):
        figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2), layout="constrained", width_ratios=[3, 2])
        draw_pendulum(left, *states[t + 1])
        left.text(-1.25, 0.8, f"{(t + 1) * seconds:.1f} s", fontsize=9)
        right.imshow(history[t], cmap="RdBu_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest")
        right.set_title(f"fast weights F, ± {bound:.2g}", fontsize=9)
        right.set(xticks=[], yticks=[], ylabel=f"{history.shape[1]} neurons",
                  xlabel=f"{inputs} inputs" + (", then the neurons" if history.shape[2] > inputs else ""))
        figure.canvas.draw()
        yield PIL.Image.fromarray(numpy.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
        plt.close(figure)


def make(options):
    """Makes the film. Returns a line that says what it is."""
    config, weights, trace = read(options.run, options.trace, "inverted_pendulum")
    steps = min(options.steps, len(trace["actions"]))
    history = fast_weights(options.run, config, weights, trace, steps)
    pictures = list(frames(trace, history, options.every))
    milliseconds = round(1000 * trace["time_step"] * trace["physics_steps"] * options.every)
    save(pictures, options.out, milliseconds)
    return f"{options.out}: {len(pictures)} pictures, {steps} steps"


def main(arguments=None):
    parser = film_parser("pendulum_film", __doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=250, help="of the episode, from its start (default 250)")
    parser.add_argument("--every", type=int, default=2, help="steps from one picture to the next (default 2)")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.every < 1:
        parser.error("--steps and --every must be at least 1")
    check_name(parser, options.out)
    return report("pendulum_film", options, lambda: make(options))


if __name__ == "__main__":
    sys.exit(main())
