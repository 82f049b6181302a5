import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
from stpn import learning_curves, reproduction, runs
from stpn.runs.curves import common_curves
from stpn.runs.kinds import RL, SUPERVISED
from stpn.runs.styles import COLOURS
from support import begin_late, write_rl_run, write_run


class LearningCurvesTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = learning_curves.main(["-o", str(self.folder / "new" / "curves.png"), *arguments])
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
        for colour in COLOURS[:2]:
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
        self.assertGreater((abs(pixels - matplotlib.colors.to_rgb(COLOURS[0]))
                            .max(axis=-1) < 0.01).sum(), 50)

    def score_axis(self, scores, levels, measure=RL.curves[0]):
        figure, axes = learning_curves.plt.subplots()
        self.addCleanup(learning_curves.plt.close, figure)
        axes.plot(scores)
        learning_curves.score_axis(axes.yaxis, measure, levels)
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

    def test_an_accuracy_starts_at_0_unless_all_is_well_above(self):
        for scores, chance, start in (([0.7, 1], [2 / 3], 0.4), ([0.7, 1], [0.1], 0), ([0.7, 1], [], 0),
                                      ([0.3, 1], [2 / 3], 0)):
            axes = self.score_axis(scores, chance, SUPERVISED.curves[0])
            self.assertEqual(axes.get_ylim(), (start, 1.03), (scores, chance))

    def test_runs_of_one_model_are_named_by_folder(self):
        _, out, _ = self.run_main(write_run(self.folder / "seed1"), write_run(self.folder / "seed2"))
        self.assertIn("STPN (seed1)", out)
        self.assertIn("STPN (seed2)", out)

    def assert_refused(self, message, *arguments):
        code, _, err = self.run_main(*arguments)
        self.assertEqual(code, 2)
        self.assertRegex(err, message)
        self.assertEqual(len(err.splitlines()), 1, err)

    def assert_shown(self, name, warning, *arguments):
        code, out, err = self.run_main(*arguments)
        self.assertEqual(code, 0, err)
        self.assertIn(name, out)
        self.assertRegex(err, warning)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertTrue((self.folder / "new" / "curves.png").exists())
        return out

    def test_shows_runs_that_have_not_finished(self):
        good, run = write_run(self.folder / "a"), Path(write_run(self.folder / "lstm", "lstm"))
        with (run / "metrics.jsonl").open("a") as lines:
            lines.write('{"epoch": 4, "valid')
        self.assert_shown("LSTM (unfinished)", "lstm: unfinished after 3 epochs: metrics.jsonl, line 4",
                          str(run))
        (run / "summary.json").unlink()
        for others in ([], [good]):
            out = self.assert_shown("LSTM (unfinished)",
                                    "lstm: unfinished after 3 epochs: no summary.json",
                                    str(run), *others)
            row, = [line.split() for line in out.splitlines() if line.startswith("LSTM")]
            self.assertEqual(row, ["LSTM", "(unfinished)", "3"])
        (run / "metrics.jsonl").unlink()
        (run / "lock").touch()
        self.assert_shown("LSTM (unfinished)", "lstm: unfinished: no summary.json", good, str(run))

    def test_shows_runs_that_diverged(self):
        run = Path(write_run(self.folder / "a"))
        summary = (run / "summary.json").read_text()
        (run / "summary.json").write_text(summary.replace("0.8765", "null"))
        self.assert_shown("STPN (diverged)", "test_accuracy is null", str(run))

    def test_an_unfinished_run_is_named_by_its_folder(self):
        for place, model in ((("stpn", "seed1"), "STPN"), (("gru",), "GRU"), (("mine",), "mine")):
            run = Path(write_run(self.folder.joinpath(*place)))
            (run / "summary.json").unlink()
            self.assert_shown(f"{model} (unfinished)", "no summary.json", str(run))

    def test_refuses_what_it_cannot_show(self):
        self.assert_refused("nowhere: does not exist", str(self.folder / "nowhere"))
        (self.folder / "empty").mkdir()
        self.assert_refused("empty: is not the folder of a run", str(self.folder / "empty"))
        run = Path(write_run(self.folder / "a"))
        (run / "metrics.jsonl").write_text("")
        self.assert_refused("metrics.jsonl is empty; no run has completed an epoch", str(run))
        (run / "metrics.jsonl").write_text('{"epoch": 1}\n')
        self.assert_refused("metrics.jsonl, line 1: has no 'validation_accuracy'", str(run))

    def test_lines_before_the_first_episode_has_ended_are_left_out(self):
        run = Path(write_rl_run(self.folder / "a"))
        lines = (run / "metrics.jsonl").read_text()
        early = '{"epoch": 0, "episodes": 0, "reward": null, "reward_share": null, "wall_seconds": 0}\n'
        (run / "metrics.jsonl").write_text(early + lines)
        self.assertEqual([line["epoch"] for line in runs.read_run(run).epochs], [1, 2, 3])
        (run / "metrics.jsonl").write_text(early)
        self.assert_refused("metrics.jsonl: no episode has ended yet", str(run))
        (run / "metrics.jsonl").write_text(lines + early)
        self.assert_shown("STPNr (diverged)", "reward is null", str(run))

    def test_refuses_an_rl_run_that_lacks_a_metric(self):
        run = Path(write_rl_run(self.folder / "a"))
        (run / "metrics.jsonl").write_text('{"epoch": 1, "episodes": 6400, "reward": 5.5}\n')
        self.assert_refused("metrics.jsonl, line 1: has no 'reward_share'", str(run))

    def test_refuses_an_unknown_format_before_it_reads_anything(self):
        for name in ("curves.xyz", "curves", "curves.pgf"):
            code, out, err = self.run_main("nowhere", "--out", str(self.folder / name))
            self.assertEqual((code, out), (2, ""))
            self.assertRegex(err, f"{name}: .* must end in one of .*[.]pdf, [.]png, .*[.]svg")
            self.assertEqual(len(err.splitlines()), 1, err)

    def test_refuses_runs_of_two_tasks(self):
        self.assert_refused("different tasks", write_run(self.folder / "a"),
                            write_rl_run(self.folder / "b"))


class MeanTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.runs = []
        for seed, rewards in ((1, (1.0, 2.0, 3.0, 4.0)), (2, (20.0, 30.0, 40.0))):
            folder = Path(scratch.name) / f"seed{seed}"
            write_rl_run(folder, seed=seed, rewards=rewards)
            begin_late(folder, 2 - seed)
            self.runs.append(runs.read_run(folder))
        self.kind = self.runs[0].kind

    def test_it_is_of_the_same_epochs_of_all_runs(self):
        for order in (self.runs, self.runs[::-1]):
            times, curves = common_curves(order, self.kind.time, self.kind.curves[0])
            self.assertEqual((times, sorted(curves)), ([12800, 19200], [[2.0, 3.0], [30.0, 40.0]]))
            axes = plt.figure().add_subplot()
            style = {"color": "black", "linestyle": "-", "marker": "o"}
            end = reproduction.mean_curve(axes, order, self.kind.time, self.kind.curves[0], style)
            self.assertEqual(axes.lines[0].get_xydata().tolist(), [[12800, 16.0], [19200, 21.5]])
            self.assertEqual(end, (19200, 21.5))
            plt.close()

    def test_without_a_common_epoch_there_is_none(self):
        self.runs[0].epochs = self.runs[0].epochs[2:]
        self.assertEqual(common_curves(self.runs, self.kind.time, self.kind.curves[0]), ([], [[], []]))
        axes = plt.figure().add_subplot()
        self.assertIsNone(reproduction.mean_curve(axes, self.runs, self.kind.time, self.kind.curves[0], {}))
        plt.close()

    def test_a_line_without_its_epoch_is_refused(self):
        metrics = self.runs[0].folder / "metrics.jsonl"
        metrics.write_text(metrics.read_text().replace('"epoch": 3, ', ""))
        run = runs.read_run(self.runs[0].folder)
        self.assertIn("line 3: has no 'epoch'", run.reason)


if __name__ == "__main__":
    unittest.main()
