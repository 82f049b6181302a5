import contextlib
import io
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy
import PIL.Image
from stpn import films, pong_film

PROGRAM = os.environ["STPN_PROGRAM"]
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments/pong"
SHORT = ("train.steps=256", "train.environments=2", "train.rollout_length=64", "train.minibatch_steps=64",
         "train.report_every=1", "task.max_frames=400", "task.test=1")
# A film of a screen has 160 x 210 pixels, each two wide, and its margins; with synapses two columns more.
ALONE, WHOLE = (344, 464), (920, 464)


def stpn(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if "this build has no Arcade Learning Environment" in done.stderr:
        raise unittest.SkipTest("the program was built without ALE")
    if done.returncode:
        raise AssertionError(done.stderr)


class PongFilmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        cls.train("stpn", "stpn")

    @classmethod
    def train(cls, name, model, *settings):
        options = [word for setting in (*SHORT, *settings) for word in ("--set", setting)]
        stpn("train", EXPERIMENTS / f"{model}.toml", "--out", cls.folder / name, "--quiet", *options)
        stpn("eval", cls.folder / name, "--trace", cls.folder / f"{name}.json")

    def run_main(self, run, trace=None, name="film.gif", options=("--every", "9")):
        trace = self.folder / f"{trace or run}.json"
        err = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = pong_film.main([str(self.folder / run), str(trace), "-o", str(self.folder / name), *options])
        return code, err.getvalue()

    def assert_refused(self, part, *arguments, **options):
        code, error = self.run_main(*arguments, **options)
        self.assertEqual((code, error.count("\n")), (2, 1), error)
        self.assertIn(part, error)

    def assert_film(self, pictures, size, name="film.gif"):
        with PIL.Image.open(self.folder / name) as film:
            self.assertEqual((film.n_frames, film.size), (pictures, size))
            for k in range(film.n_frames):
                film.seek(k)
                film.load()

    def write_trace(self, **changes):
        whole = json.loads((self.folder / "stpn.json").read_text())
        (self.folder / "changed.json").write_text(json.dumps(whole | changes))
        return whole

    def test_shows_screen_score_and_synapses(self):
        for name in ("film.gif", "film.png"):
            self.assertEqual(self.run_main("stpn", name=name), (0, ""))
            self.assert_film(12, WHOLE, name)  # of 100 steps

    def test_shows_a_part_of_a_game(self):
        self.assertEqual(self.run_main("stpn", options=("--start", "90", "--steps", "6", "--every", "3")), (0, ""))
        self.assert_film(2, WHOLE)
        self.assertEqual(self.run_main("stpn", options=("--start", "98", "--every", "5")), (0, ""))
        self.assert_film(1, WHOLE)
        self.assert_refused("has 100 steps", "stpn", options=("--start", "100"))

    def test_shows_drawn_actions(self):
        stpn("eval", self.folder / "stpn", "--trace", self.folder / "sampled.json", "--sampled")
        self.assertEqual(self.run_main("stpn", "sampled", options=("--sampled", "--every", "30")), (0, ""))
        self.assert_refused("--sampled", "stpn", "sampled")

    def test_shows_other_stpns_and_images(self):
        others = {"images": ["task.mode=stpn"], "feedforward": ["unit.name=stpn_feedforward"],
                  "recurrent": ["unit.connections=recurrent", "unit.plastic_bias=true"]}
        for name, settings in others.items():
            with self.subTest(name=name):
                self.train(name, "stpn", *settings)
                self.assertEqual(self.run_main(name, options=("--every", "40")), (0, ""))
                with PIL.Image.open(self.folder / "film.gif") as film:
                    self.assertEqual(film.size, WHOLE)

    def test_shows_other_units_without_synapses(self):
        self.train("gru", "gru")
        self.assertEqual(self.run_main("gru"), (0, ""))
        self.assert_film(12, ALONE)

    def test_a_trace_of_another_run_is_refused(self):
        actions = json.loads((self.folder / "stpn.json").read_text())["actions"]
        self.write_trace(actions=[*actions[:50], (actions[50] + 1) % 6, *actions[51:]])
        self.assert_refused("step 50: ", "stpn", "changed")
        self.write_trace(game="breakout")
        self.assert_refused("breakout", "stpn", "changed")

    def test_what_cannot_be_filmed_is_one_line(self):
        for content in ("", "{", "{}", '{"task": "maze"}', "[]", '{"task": "atari", "actions": []}'):
            (self.folder / "changed.json").write_text(content)
            self.assert_refused("changed.json", "stpn", "changed")
        whole = self.write_trace()
        for changes in ({"observations": whole["observations"][:5]}, {"observations": ["AQAA"] * 101}, {"palette": []},
                        {"actions": [7] * 100}, {"screens": []}, {"height": 0}, {"unit": 0},
                        {"rewards": None}, {"frames_per_step": 0}):
            with self.subTest(changes=changes.keys()):
                self.write_trace(**changes)
                self.assert_refused("changed.json", "stpn", "changed", options=("--steps", "5"))
        self.assert_refused("does not exist", "nowhere", "stpn")
        self.assert_refused("does not exist", "stpn", "nowhere")
        for options in (("--every", "0"), ("--steps", "0"), ("--start", "-1"), ("-o", "film.mp4")):
            with self.assertRaises(SystemExit) as stopped:
                self.run_main("stpn", options=options)
            self.assertEqual(stopped.exception.code, 2)


class CheckActionsTest(unittest.TestCase):
    NAMES = ["NOOP", "FIRE", "UP"]

    def setUp(self):
        draws = numpy.random.default_rng(1)
        self.outputs = draws.normal(size=(500, 3))
        odds = numpy.exp(self.outputs) / numpy.exp(self.outputs).sum(1, keepdims=True)
        self.drawn = [draws.choice(3, p=p) for p in odds]

    def test_draws_are_likely(self):
        films.check_choices(self.outputs, self.drawn, self.NAMES, sampled=True)

    def test_others_are_not(self):
        for actions in (self.outputs.argmax(1), self.outputs.argmin(1), numpy.roll(self.drawn, 1)):
            with self.assertRaises(films.FilmError):
                films.check_choices(self.outputs, actions, self.NAMES, sampled=True)

    def test_the_most_probable_are_those_of_a_game_without_draws(self):
        films.check_choices(self.outputs, self.outputs.argmax(1), self.NAMES, sampled=False)
        with self.assertRaises(films.FilmError):
            films.check_choices(self.outputs, self.drawn, self.NAMES, sampled=False)


if __name__ == "__main__":
    unittest.main()
