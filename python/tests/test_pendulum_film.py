import contextlib
import io
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import PIL.Image
from stpn import pendulum_film

PROGRAM = os.environ["STPN_PROGRAM"]
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments/pendulum"


def stpn(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if "this build has no MuJoCo" in done.stderr:
        raise unittest.SkipTest("the program was built without MuJoCo")
    if done.returncode:
        raise AssertionError(done.stderr)


class PendulumFilmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        for model in ("stpn", "stpn_feedforward", "lstm"):
            run = cls.folder / model
            stpn("train", EXPERIMENTS / f"{model}.toml", "--out", run, "--quiet", "--set", "train.steps=150",
                 "--set", "train.rollout_length=150", "--set", "train.passes=1", "--set", "task.max_steps=100")
            stpn("eval", run, "--episodes", 1, "--trace", cls.folder / f"{model}.json")

    def run_main(self, model, trace=None, name="film.gif"):
        trace = trace or self.folder / f"{model}.json"
        err = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = pendulum_film.main([str(self.folder / model), str(trace), "-o", str(self.folder / name),
                                       "--every", "3"])
        return code, err.getvalue()

    def test_has_a_picture_of_every_third_step(self):
        for model in ("stpn", "stpn_feedforward"):
            for name in ("film.gif", "film.png"):
                self.assertEqual(self.run_main(model, name=name), (0, ""))
                steps = len(json.loads((self.folder / f"{model}.json").read_text())["actions"])
                with PIL.Image.open(self.folder / name) as film:
                    self.assertEqual(film.n_frames, -(-steps // 3))
                    self.assertEqual(film.size, (640, 320))

    def test_a_trace_of_another_run_is_refused(self):
        code, error = self.run_main("stpn", trace=self.folder / "lstm.json")
        self.assertEqual(code, 2)
        self.assertIn("is the trace of this run?", error)

    def test_what_cannot_be_filmed_is_one_line(self):
        broken = self.folder / "broken.json"
        for content in ("", "{", "{}", '{"task": "maze"}', "[]", '{"task": "inverted_pendulum", "actions": []}'):
            broken.write_text(content)
            code, error = self.run_main("stpn", trace=broken)
            self.assertEqual((code, error.count("\n")), (2, 1), content)
        whole = json.loads((self.folder / "stpn.json").read_text())
        others = [{"observations": [row[:2] for row in whole["observations"]]},
                  {"actions": [[] for _ in whole["actions"]]}, {"qpos": whole["qpos"][:1]}, {"time_step": None}]
        for other in others:
            broken.write_text(json.dumps(whole | other))
            code, error = self.run_main("stpn", trace=broken)
            self.assertEqual((code, error.count("\n")), (2, 1), other.keys())
        code, error = self.run_main("lstm")
        self.assertEqual((code, error.count("\n")), (2, 1))
        code, error = self.run_main("nowhere", trace=self.folder / "lstm.json")
        self.assertEqual((code, error.count("\n")), (2, 1))


if __name__ == "__main__":
    unittest.main()
