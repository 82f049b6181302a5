import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
from stpn import learning_curves
from stpn.kinds import RL
from support import write_rl_run, write_run


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

    def test_prints_a_row_for_each_run_and_baseline(self):
        code, out, _ = self.run_main(write_run(self.folder / "a"),
                                     write_run(self.folder / "b", "lstm"))
        self.assertEqual(code, 0)
        rows = [line.split() for line in out.splitlines()]
        self.assertIn(["STPN", "1234", "87.6", "%", "2.5", "3", "57"], rows)
        self.assertIn(["LSTM", "1234", "87.6", "%", "2.5", "3", "57"], rows)
        self.assertIn(["no", "binding", "33.3", "%"], rows)
        self.assertIn(["chance", "10.0", "%"], rows)

    def test_draws_each_run_in_its_colour(self):
        self.run_main(write_run(self.folder / "a"), write_run(self.folder / "b", "lstm", accuracies=(0.2,)))
        pixels = matplotlib.image.imread(self.folder / "new" / "curves.png")[..., :3]
        for colour in learning_curves.COLOURS[:2]:
            wanted = matplotlib.colors.to_rgb(colour)
            self.assertGreater((abs(pixels - wanted).max(axis=-1) < 0.01).sum(), 50, colour)

    def test_shows_rl_tasks(self):
        code, out, err = self.run_main(write_rl_run(self.folder / "a"),
                                       write_rl_run(self.folder / "b", "lstm", reward=70.04))
        self.assertEqual((code, err), (0, ""))
        rows = [line.split() for line in out.splitlines()]
        # Shares by hand: 114.6 and 64.54 of 264.8. Three lines of 6400 episodes each.
        self.assertIn(["STPNr", "4321", "120", "43.3", "%", "1.2", "19.2", "99"], rows)
        self.assertIn(["LSTM", "4321", "70", "24.4", "%", "1.2", "19.2", "99"], rows)
        self.assertIn(["random", "5.5"], rows)
        self.assertIn(["oracle", "270"], rows)
        pixels = matplotlib.image.imread(self.folder / "new" / "curves.png")[..., :3]
        self.assertGreater((abs(pixels - matplotlib.colors.to_rgb(learning_curves.COLOURS[0]))
                            .max(axis=-1) < 0.01).sum(), 50)

    def score_axis(self, rewards, levels):
        figure, axes = learning_curves.plt.subplots()
        self.addCleanup(learning_curves.plt.close, figure)
        axes.plot(rewards)
        learning_curves.score_axis(axes.yaxis, RL.curves[0], levels)
        return axes

    def test_a_baseline_far_above_the_rewards_does_not_flatten_them(self):
        for top in (270, 2000):
            axes = self.score_axis([10, 150], [5.5, top])
            low, high = axes.get_ylim()
            self.assertLess(low, 0)
            self.assertGreater(high, top if top == 270 else 150)
            self.assertLess(high, 330)
            self.assertEqual(
                learning_curves.baseline_text("oracle_reward", top, RL, axes.yaxis),
                "oracle" if top == 270 else "oracle: 2000, out of view")

    def test_the_lowest_baseline_and_rewards_below_0_are_in_view(self):
        low, high = self.score_axis([-15, -14], [-21, 21]).get_ylim()
        self.assertLess(low, -21)
        self.assertTrue(-14 < high < 21, high)

    def test_runs_of_one_model_are_named_by_folder(self):
        _, out, _ = self.run_main(write_run(self.folder / "seed1"), write_run(self.folder / "seed2"))
        self.assertIn("STPN (seed1)", out)
        self.assertIn("STPN (seed2)", out)

    def assert_refused(self, message, *arguments):
        code, _, err = self.run_main(*arguments)
        self.assertEqual(code, 2)
        self.assertRegex(err, message)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_refuses_a_folder_that_is_not_a_finished_run(self):
        run = Path(write_run(self.folder / "a"))
        self.assert_refused("nowhere/summary.json: does not exist", str(self.folder / "nowhere"))
        (run / "metrics.jsonl").write_text("")
        self.assert_refused("metrics.jsonl: empty", str(run))
        (run / "metrics.jsonl").write_text('{"epoch": 1, "valid')
        self.assert_refused("metrics.jsonl: not an output of a run", str(run))
        (run / "metrics.jsonl").write_text('{"epoch": 1}\n')
        self.assert_refused("metrics.jsonl: has no 'validation_accuracy'", str(run))
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps({**summary, "metrics": {"loss": 1}}))
        self.assert_refused("summary.json: not .* no test_accuracy and no reward", str(run))
        (run / "summary.json").write_text("[]")
        self.assert_refused("summary.json: not an output of a run", str(run))

    def test_refuses_an_rl_run_that_lacks_a_metric(self):
        run = Path(write_rl_run(self.folder / "a"))
        (run / "metrics.jsonl").write_text('{"epoch": 1, "episodes": 6400, "reward": 5.5}\n')
        self.assert_refused("metrics.jsonl: has no 'reward_share'", str(run))
        summary = (run / "summary.json").read_text()
        (run / "summary.json").write_text(summary.replace("energy_per_neuron\"", "energy\""))
        self.assert_refused("summary.json: has no 'energy_per_neuron'", str(run))

    def test_refuses_runs_of_two_tasks(self):
        self.assert_refused("different tasks", write_run(self.folder / "a"),
                            write_rl_run(self.folder / "b"))


if __name__ == "__main__":
    unittest.main()
