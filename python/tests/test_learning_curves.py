import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
from stpn import learning_curves
from support import write_run


class LearningCurvesTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = learning_curves.main([*arguments, "-o", str(self.folder / "new" / "curves.png")])
        return code, out.getvalue(), err.getvalue()

    def test_prints_a_row_a_run_and_the_levels(self):
        code, out, _ = self.run_main(write_run(self.folder / "a"),
                                     write_run(self.folder / "b", "lstm"))
        self.assertEqual(code, 0)
        rows = [line.split() for line in out.splitlines()]
        self.assertIn(["STPN", "1234", "87.6", "%", "2.5", "3", "57"], rows)
        self.assertIn(["LSTM", "1234", "87.6", "%", "2.5", "3", "57"], rows)
        self.assertIn(["no", "binding", "33.3", "%"], rows)
        self.assertIn(["chance", "10.0", "%"], rows)

    def test_draws_a_line_a_run_in_its_colour(self):
        self.run_main(write_run(self.folder / "a"), write_run(self.folder / "b", "lstm", accuracies=(0.2,)))
        pixels = matplotlib.image.imread(self.folder / "new" / "curves.png")[..., :3]
        for colour in learning_curves.COLOURS[:2]:
            wanted = matplotlib.colors.to_rgb(colour)
            self.assertGreater((abs(pixels - wanted).max(axis=-1) < 0.01).sum(), 50, colour)

    def test_runs_of_one_model_are_told_apart_by_folder(self):
        _, out, _ = self.run_main(write_run(self.folder / "seed1"), write_run(self.folder / "seed2"))
        self.assertIn("STPN (seed1)", out)
        self.assertIn("STPN (seed2)", out)

    def assert_refused(self, message, *arguments):
        code, _, err = self.run_main(*arguments)
        self.assertEqual(code, 2)
        self.assertRegex(err, message)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_refuses_what_is_no_finished_run(self):
        run = Path(write_run(self.folder / "a"))
        self.assert_refused("nowhere/summary.json: not there", str(self.folder / "nowhere"))
        (run / "metrics.jsonl").write_text("")
        self.assert_refused("metrics.jsonl: empty", str(run))
        (run / "metrics.jsonl").write_text('{"epoch": 1, "valid')
        self.assert_refused("metrics.jsonl: not what a run writes", str(run))
        (run / "metrics.jsonl").write_text('{"epoch": 1}\n')
        self.assert_refused("metrics.jsonl: has no 'validation_accuracy'", str(run))
        (run / "summary.json").write_text("[]")
        self.assert_refused("summary.json: not what a run writes", str(run))

    def test_refuses_runs_of_two_tasks(self):
        self.assert_refused("different tasks", write_run(self.folder / "a"),
                            write_run(self.folder / "b", task="maze"))


if __name__ == "__main__":
    unittest.main()
