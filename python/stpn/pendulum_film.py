"""A film of a trained STPN that balances the pendulum, with its fast weights beside it.

    build/bin/stpn eval RUN --episodes 1 --trace TRACE.json
    python -m stpn.pendulum_film RUN TRACE.json -o FILM.gif

RUN is the folder of a run of the task inverted_pendulum with a unit stpn_recurrent or
stpn_feedforward. The film shows the first steps of the episode, in a GIF or an animated PNG. Its fast
weights are computed by the ops, from the observations of the trace; they are right if the policy's
actions are those of the trace, which is checked.
"""

import argparse
import json
import struct
import sys
import tomllib
from pathlib import Path

import numpy
import PIL.Image

from stpn.figures import plt
from stpn.runs import printable

FORMATS = (".gif", ".png")
MAGNIFIED = 20  # times the angle, or the pole would seem to stand still
CART, POLE, RAIL = "#4a4a4a", "#D55E00", "#b0b0b0"
POLE_LENGTH = 0.6  # m
RAIL_END = 1  # m from the middle


class FilmError(Exception):
    """A film that cannot be made. The message says why."""


def read_weights(path):
    """Tensor name to array, of a safetensors file; without those of another type than float32."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    return {name: numpy.frombuffer(data[slice(*entry["data_offsets"])], numpy.float32).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"}


def read(run, trace_path):
    """(options of the unit, weights, trace)."""
    try:
        config = tomllib.loads((run / "config.toml").read_text())
        weights = read_weights(run / "checkpoint" / "last.safetensors")
        trace = json.loads(trace_path.read_text())
        if trace["task"] != "inverted_pendulum":
            raise FilmError(f"{trace_path}: is a trace of the task {trace['task']}, not of inverted_pendulum")
        unit = config["unit"]
        if unit["name"] not in ("stpn_recurrent", "stpn_feedforward") or unit.get("parametrisation", "plain") != "plain":
            raise FilmError(f"{run}: its unit is no STPN with plain parameters, so there is no film of its synapses")
        if not trace["actions"] or len(trace["observations"]) != len(trace["actions"]) + 1:
            raise FilmError(f"{trace_path}: the lengths of its lists do not match")
        return unit, weights, trace
    except FileNotFoundError as error:
        raise FilmError(f"{error.filename}: does not exist") from None
    except KeyError as error:
        raise FilmError(f"{run} or {trace_path}: has no {error}") from None
    except (ValueError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise FilmError(f"{run} or {trace_path}: cannot be read: {error}") from None


def fast_weights(unit, weights, trace, steps):
    """(steps, H, presynaptic inputs): F after each step of the episode."""
    import torch
    from stpn import ops

    def tensor(name):
        return torch.from_numpy(weights[name].copy()) if name in weights else None

    recurrent = unit["name"] == "stpn_recurrent"
    op = ops.stpn_recurrent if recurrent else ops.stpn_feedforward
    options = {key: unit[key] for key in ("norm", "rule", "decay", "activation")}
    options |= {key: unit[key] for key in ("connections", "presynaptic") if key in unit}
    if unit["clamp"] != float("inf"):
        options["clamp"] = unit["clamp"]
    for name in ("bias_lambda", "bias_gamma", "layer_norm_weight", "layer_norm_bias"):
        options[name] = tensor(f"unit.{name}")
    fixed = [tensor(f"unit.{name}") for name in ("weight", "bias", "weight_lambda", "weight_gamma")]
    H, P = fixed[0].shape[0], fixed[2].shape[-1] if fixed[2].dim() == 2 else fixed[0].shape[1]
    state, F = [torch.zeros(1, H)] if recurrent else [], torch.zeros(1, H, P)
    beta = torch.zeros(1, H) if unit.get("plastic_bias") else None
    x = torch.tensor(trace["observations"], dtype=torch.float32)
    limit = 3
    history = []
    with torch.no_grad():
        for t in range(steps):
            output, F, beta_after, _ = op(x[t].view(1, 1, -1), *state, F, *fixed, beta=beta, **options)
            if recurrent:
                state = [output[-1]]
            beta = beta_after if unit.get("plastic_bias") else None
            mean = tensor("policy.weight")[0] @ output[0, 0] + tensor("policy.bias")[0]
            action = max(-limit, min(limit, limit * mean.item()))
            traced = max(-limit, min(limit, trace["actions"][t][0]))
            if abs(action - traced) > 1e-2:
                raise FilmError(f"step {t}: the action is {action:.4f}, in the trace {traced:.4f}: "
                                "is the trace of this run?")
            history.append(F[0].numpy().copy())
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


def save(pictures, path, milliseconds):
    """Writes the pictures with the colours of the first that has them all: the last."""
    palette = pictures[-1].quantize(64, dither=PIL.Image.Dither.NONE)
    reduced = [picture.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for picture in pictures]
    path.parent.mkdir(parents=True, exist_ok=True)
    reduced[0].save(path, save_all=True, append_images=reduced[1:], duration=milliseconds, loop=0, optimize=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.pendulum_film", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("trace", type=Path, help="an episode of that run: stpn eval RUN --trace FILE")
    parser.add_argument("-o", "--out", type=Path, required=True, help=f"the film, {' or '.join(FORMATS)}")
    parser.add_argument("--steps", type=int, default=250, help="of the episode, from its start (default 250)")
    parser.add_argument("--every", type=int, default=2, help="steps from one picture to the next (default 2)")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.every < 1:
        parser.error("--steps and --every must be at least 1")
    if options.out.suffix.lower() not in FORMATS:
        parser.error(f"{options.out}: the name of a film must end in {' or '.join(FORMATS)}")
    try:
        unit, weights, trace = read(options.run, options.trace)
        steps = min(options.steps, len(trace["actions"]))
        history = fast_weights(unit, weights, trace, steps)
        pictures = list(frames(trace, history, options.every))
        milliseconds = round(1000 * trace["time_step"] * trace["physics_steps"] * options.every)
        save(pictures, options.out, milliseconds)
    except (FilmError, ImportError, OSError) as error:
        print(f"pendulum_film: {printable(str(error))}", file=sys.stderr)
        return 2
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        # A damaged file, or files that do not belong together, such as a run that sees velocities and a
        # trace without.
        reason = printable(" ".join(str(error).split())[:200])
        print(f"pendulum_film: {options.run} and {options.trace} are no run and its trace: "
              f"{type(error).__name__}: {reason}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(pictures)} pictures, {steps} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
