"""Our Atari tasks compared with a plain loop over the Python package ale_py, which cmake/setup.sh ale installs."""

import base64
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # small matrices, and other tests run at the same time
import numpy  # noqa: E402

sys.path.append(os.environ.get("STPN_ALE_PYTHON", ""))
try:
    import ale_py
    import ale_py.roms
except ImportError:
    ale_py = None

PROGRAM = os.environ["STPN_PROGRAM"]
EXPERIMENT = pathlib.Path(__file__).resolve().parents[2] / "experiments/pong/random.toml"
SIZE = 84


def trace_of(**options):
    """The first test episode of a random policy; a skipped test where there is no emulator."""
    settings = [word for key, value in options.items()
                for word in ("--set", f"task.{key}={json.dumps(value)}")]
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "trace.json"
        run = subprocess.run([PROGRAM, "eval", EXPERIMENT, "--episodes", "1", "--trace", path, *settings],
                             capture_output=True, text=True)
        if "this build has no Arcade Learning Environment" in run.stderr:
            raise unittest.SkipTest("the program was built without the Arcade Learning Environment")
        if run.returncode:
            raise AssertionError(run.stderr)
        return json.loads(path.read_text())


def decoded(text, height, width):
    runs = numpy.frombuffer(base64.b64decode(text), numpy.uint8)
    return numpy.repeat(runs[1::2], runs[::2]).reshape(height, width)


@functools.cache
def overlaps(sources, count):
    """(count, sources): the part of each source pixel in each new one, in units of 1 / count; whole numbers."""
    new, old = numpy.mgrid[:count, :sources]
    ends = numpy.minimum((new + 1) * sources, (old + 1) * count)
    return numpy.maximum(0, ends - numpy.maximum(new * sources, old * count)).astype(float)


def averages(plane):
    """The exact averages over the area of each of 84 x 84 pixels."""
    rows, columns = plane.shape
    return overlaps(rows, SIZE) @ plane.astype(float) @ overlaps(columns, SIZE).T / (rows * columns)


class Player:
    """The package's emulator, and the last two frames as it shows them."""

    def __init__(self, game):
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0)
        self.ale.loadROM(ale_py.roms.get_rom_path(game))
        self.actions = self.ale.getMinimalActionSet()
        self.before = self.last = self.ale.getScreenGrayscale().copy()

    def act(self, choice):
        reward = self.ale.act(self.actions[choice])
        self.before, self.last = self.last, self.ale.getScreenGrayscale().copy()
        return reward


@unittest.skipIf(ale_py is None, "there is no Python package ale_py")
class AlePackage(unittest.TestCase):
    def see(self, trace, t, player):
        """Each screen is the same; so is each tenth image, and what is made of its screen."""
        screen = decoded(trace["screens"][t], trace["height"], trace["width"])
        self.assertTrue(numpy.array_equal(screen, player.ale.getScreen()), f"step {t}")
        if t % 10 and t + 1 < len(trace["screens"]):
            return
        colours = player.ale.getScreenRGB()
        self.assertTrue(numpy.array_equal(numpy.array(trace["palette"])[screen], colours), f"step {t}")
        image = decoded(trace["observations"][t], SIZE, SIZE)
        if trace["mode"] == "deepmind":
            off = numpy.abs(image - averages(numpy.maximum(player.before, player.last)))
            self.assertLessEqual(off.max(), 0.5 + 1e-4, f"step {t}")
        else:
            planes = [averages(colours[25:-25, :, channel]) for channel in range(3)]
            # Where a channel is half-way between two bytes, either may be right.
            clear = numpy.all([numpy.abs(plane % 1 - 0.5) > 1e-4 for plane in planes], axis=0)
            mean = numpy.rint(sum(numpy.rint(plane) for plane in planes) / 3)
            self.assertTrue(clear.any())
            self.assertTrue(numpy.array_equal(image[clear], mean[clear]), f"step {t}")

    def replay(self, steps, **options):
        trace = trace_of(**options)
        self.assertEqual(trace["ale"], ale_py.__version__)
        player = Player(trace["game"])
        self.assertEqual(trace["action_names"], [action.name for action in player.actions])
        for _ in range(trace["no_ops"]):
            player.act(trace["action_names"].index("NOOP"))
        for _ in range(trace["fire_frames"]):
            player.act(trace["action_names"].index("FIRE"))
        self.see(trace, 0, player)
        frames = pressed_before = 0
        for t, action in enumerate(trace["actions"]):
            points, repeated = 0, False
            for pressed in trace["pressed"][t]:
                self.assertIn(pressed, (action, pressed_before))
                repeated = repeated or pressed != action
                pressed_before = pressed
                points += player.act(pressed)
                frames += 1
            self.assertTrue(options.get("repeat_action_probability") or not repeated)
            self.assertEqual(trace["rewards"][t], points, f"step {t}")
            over, late = player.ale.game_over(), frames == trace["max_frames"]
            self.assertEqual((trace["terminated"][t], trace["truncated"][t]), (over, late), f"step {t}")
            if not over and not late:
                self.assertEqual(len(trace["pressed"][t]), trace["frames_per_step"])
            self.see(trace, t + 1, player)
        self.assertGreaterEqual(len(trace["actions"]), steps)
        self.assertTrue(over or late)
        self.assertTrue(any(trace["rewards"]))

    def test_plays_the_same_pong_frame_by_frame(self):
        self.replay(2000, mode="stpn", max_frames=2000)

    def test_plays_the_same_pong_with_skipped_frames(self):
        self.replay(700, mode="deepmind")

    def test_plays_the_same_pong_with_repeated_actions(self):
        self.replay(700, mode="deepmind", repeat_action_probability=0.25)


if __name__ == "__main__":
    unittest.main()
